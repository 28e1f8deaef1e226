//! Commands, applied within a transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Command, LeaseChange, Outcome, Refusal, What};
use super::{session, staged};
use crate::lease::{Owner, Row};
use crate::record::{Change, Key, SHARDS, StoreError, is_refusal};
use crate::replicated::claim::Known;
use crate::replicated::types::{DiskId, packed, unpacked};
use crate::sqlite::{apply as write, sweep_values};

/// Tables beside those of records: nodes with leases, by which disks they have them, shards that have or had an owner, the last commands of
/// each proposer, parts of what is to be made, and what was applied.
pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS node (
  name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, renewal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holder (
  name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, disk INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owner (
  shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, node TEXT, incarnation INTEGER
);
CREATE TABLE IF NOT EXISTS session (
  id INTEGER NOT NULL, leases INTEGER NOT NULL, number INTEGER NOT NULL, outcome BLOB NOT NULL, entry INTEGER NOT NULL,
  PRIMARY KEY (id, leases)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (only INTEGER PRIMARY KEY CHECK (only = 1), state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS received (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS known (disk INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS staged (
  node TEXT NOT NULL, session INTEGER NOT NULL, at INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (node, session, at)
);
CREATE TABLE IF NOT EXISTS disk (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL);
";

/// Applies the command of an entry with this number, unless it was applied before. `is_alone` is whether there is no other voter, by the
/// entries before.
///
/// # Errors
/// What SQLite says: then nothing of the transaction is to be kept.
pub(crate) fn apply(
    transaction: &Transaction<'_>,
    number: u64,
    command: &Command,
    is_alone: bool,
) -> Result<Outcome, StoreError> {
    if let Some(outcome) = session::before(transaction, command)? {
        return Ok(outcome);
    }
    let outcome = anew(transaction, number, command, is_alone)?;
    session::note(transaction, number, command, &outcome)?;
    // As much with each command on every voter, and whatever is left of it changes nothing that comes of a command.
    sweep_values(transaction)?;
    Ok(outcome)
}

fn anew(
    transaction: &Transaction<'_>,
    number: u64,
    Command { owner, ticket, what }: &Command,
    is_alone: bool,
) -> Result<Outcome, StoreError> {
    let all_made = |changes: &[(Key, Change)]| {
        let made = changes.iter().map(|(key, change)| made(transaction, owner, key, change, is_alone));
        made.collect::<Result<_, _>>().map(Outcome::Committed)
    };
    match what {
        What::Commit(changes) => all_made(changes),
        What::Stage { at, bytes } => {
            staged::stage(transaction, owner, ticket.session, *at, bytes).map(|()| Outcome::Staged)
        }
        What::CommitStaged { length, mark } => {
            let changes = staged::take(transaction, owner, ticket.session, *length, mark)?;
            changes.map_or(Ok(Outcome::Late), |changes| all_made(&changes))
        }
        What::Lease(change) => {
            let outcome = match change {
                LeaseChange::Renew { known, over, forget, disk } => {
                    know(transaction, disk)?;
                    renew(transaction, number, owner, *known, over.as_ref(), forget)
                        .and_then(|outcome| hold(transaction, owner, disk.disk).map(|()| outcome))
                }
                LeaseChange::Release => release(transaction, owner),
                LeaseChange::Claim { wanted, over } => claim(transaction, owner, wanted, over),
                LeaseChange::Hand { given, to, over } => hand(transaction, owner, given, to.as_deref(), over.as_ref()),
            };
            outcome.or_else(|error| Refusal::try_from(error).map(Outcome::Refused))
        }
    }
}

/// Makes a change, or says why it may not be made.
fn made(
    transaction: &Transaction<'_>,
    owner: &Owner,
    key: &Key,
    change: &Change,
    is_alone: bool,
) -> Result<Option<Refusal>, StoreError> {
    match fence(transaction, owner, key, change).and_then(|()| write(transaction, key, change)) {
        Ok(()) => Ok(None),
        // Others have it whole, and make the change: this one would have another state from then on.
        Err(error @ StoreError::Damaged { .. }) if !is_alone => Err(error),
        Err(error) if is_refusal(&error) => Refusal::try_from(error).map(Some),
        Err(error) => Err(error),
    }
}

/// Does the shard have this owner, in the change's epoch? One of records without a class has none.
fn fence(connection: &Connection, owner: &Owner, key: &Key, change: &Change) -> Result<(), StoreError> {
    if key.class.is_empty() {
        return Ok(());
    }
    let epoch = change.epoch();
    let sql = "SELECT epoch, node IS ? AND incarnation IS ? FROM owner WHERE shard = ?";
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![owner.node, owner.incarnation, key.shard()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((stored, true)) if stored == epoch => Ok(()),
        found => {
            let stored = found.map_or(0, |(stored, _ours)| stored);
            Err(StoreError::Fenced { key: key.clone(), epoch, stored })
        }
    }
}

/// The lease by a name.
fn holder(connection: &Connection, node: &str) -> Result<Option<Row>, StoreError> {
    let mut select = connection.prepare_cached("SELECT incarnation, renewal FROM node WHERE name = ?")?;
    let row =
        select.query_row([node], |row| Ok(Row { node: node.into(), incarnation: row.get(0)?, renewal: row.get(1)? }));
    Ok(row.optional()?)
}

/// Notes what a voter has on its disk, unless that is less than what it had before: a leader that is behind may have passed on the words of
/// one whose folder is of an earlier time.
fn know(transaction: &Transaction<'_>, now: &Known) -> Result<(), StoreError> {
    let before = known(transaction)?.into_iter().find(|known| known.disk == now.disk);
    if before.is_none_or(|known| now.had >= known.had) {
        let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO known VALUES (?, ?)")?;
        replace.execute(params![now.disk, packed(now)?])?;
    }
    Ok(())
}

/// Notes which disk a node has its lease by. Nothing that comes of a command depends on it: a release before notes nothing.
fn hold(transaction: &Transaction<'_>, owner: &Owner, disk: DiskId) -> Result<(), StoreError> {
    let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO holder VALUES (?, ?, ?)")?;
    replace.execute(params![owner.node, owner.incarnation, disk])?;
    Ok(())
}

/// Is it known that a node has this lease by that disk?
///
/// # Errors
/// When it can't be read.
pub(crate) fn is_by(connection: &Connection, lease: &Row, disk: DiskId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM holder WHERE name = ? AND incarnation = ? AND disk = ?)";
    let found = params![lease.node, lease.incarnation, disk];
    Ok(connection.prepare_cached(sql)?.query_row(found, |row| row.get(0))?)
}

/// A node has no lease any more.
fn remove(transaction: &Transaction<'_>, node: &str) -> Result<(), StoreError> {
    transaction.prepare_cached("DELETE FROM holder WHERE name = ?")?.execute([node])?;
    staged::forget(transaction, node)
}

/// What is known of the disks.
///
/// # Errors
/// When it can't be read.
pub(crate) fn known(connection: &Connection) -> Result<Vec<Known>, StoreError> {
    let mut select = connection.prepare_cached("SELECT bytes FROM known")?;
    let found = select.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    found.map(|bytes| unpacked(&bytes?)).collect()
}

/// All leases.
///
/// # Errors
/// When they can't be read.
pub(crate) fn leases(connection: &Connection) -> Result<Vec<Row>, StoreError> {
    let mut select = connection.prepare_cached("SELECT name, incarnation, renewal FROM node")?;
    let rows =
        select.query_map([], |row| Ok(Row { node: row.get(0)?, incarnation: row.get(1)?, renewal: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn renew(
    transaction: &Transaction<'_>,
    number: u64,
    owner: &Owner,
    known: bool,
    over: Option<&Row>,
    forget: &[Row],
) -> Result<Outcome, StoreError> {
    let Owner { node, incarnation } = owner;
    let holder = holder(transaction, node)?;
    let of_another = holder.as_ref().is_some_and(|row| row.incarnation != *incarnation);
    // A start takes the name from no other that may live.
    if known && of_another && holder.as_ref() != over {
        return Err(StoreError::Replaced(node.as_str().into()));
    }
    let is_new = of_another || holder.is_none();
    if is_new {
        free(transaction, node)?;
        staged::forget(transaction, node)?;
    }
    for row in forget {
        let sql = "DELETE FROM node WHERE name = ? AND incarnation = ? AND renewal = ?
                   AND NOT EXISTS (SELECT 1 FROM owner WHERE owner.node = node.name)";
        if transaction.prepare_cached(sql)?.execute(params![row.node, row.incarnation, row.renewal])? > 0 {
            remove(transaction, &row.node)?;
        }
    }
    let sql = "INSERT INTO node VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
               SET incarnation = excluded.incarnation, renewal = excluded.renewal";
    transaction.prepare_cached(sql)?.execute(params![node, incarnation, number])?;
    Ok(Outcome::Renewed { is_new })
}

fn release(transaction: &Transaction<'_>, owner: &Owner) -> Result<Outcome, StoreError> {
    if holder(transaction, &owner.node)?.is_some_and(|row| row.incarnation == owner.incarnation) {
        free(transaction, &owner.node)?;
        transaction.prepare_cached("DELETE FROM node WHERE name = ?")?.execute([&owner.node])?;
        remove(transaction, &owner.node)?;
    }
    Ok(Outcome::Released)
}

fn claim(transaction: &Transaction<'_>, owner: &Owner, wanted: &[u16], over: &[Row]) -> Result<Outcome, StoreError> {
    let Owner { node, incarnation } = owner;
    if holder(transaction, node)?.is_none_or(|row| row.incarnation != *incarnation) {
        return Err(StoreError::NoLease(node.as_str().into()));
    }
    let mut free = Vec::new();
    // Each once.
    let wanted: BTreeSet<u16> = wanted.iter().copied().filter(|shard| *shard < SHARDS).collect();
    for shard in &wanted {
        let sql = "SELECT node, incarnation FROM owner WHERE shard = ? AND node IS NOT NULL";
        let has: Option<(String, i64)> =
            transaction.prepare_cached(sql)?.query_row([shard], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let is_free = match has {
            None => true,
            // An earlier start of this node, whose lease this one has.
            Some((name, start)) if name == *node => start != *incarnation,
            // Who has renewed it since the asker looked lives.
            Some((name, start)) => over
                .iter()
                .find(|row| row.node == name && row.incarnation == start)
                .map_or(Ok(false), |row| Ok::<_, StoreError>(holder(transaction, &name)?.as_ref() == Some(row)))?,
        };
        free.extend(is_free.then_some(*shard));
    }
    give(transaction, &free, Some(owner)).map(Outcome::Moved)
}

fn hand(
    transaction: &Transaction<'_>,
    owner: &Owner,
    given: &[(u16, u64)],
    to: Option<&str>,
    over: Option<&Row>,
) -> Result<Outcome, StoreError> {
    let to = match to {
        None => None,
        Some(to) => {
            let lives = holder(transaction, to)?.filter(|row| Some(row) != over);
            let row = lives.ok_or_else(|| StoreError::NoLease(to.into()))?;
            Some(Owner { node: row.node, incarnation: row.incarnation })
        }
    };
    let mut ours = Vec::new();
    for (shard, epoch) in &given.iter().copied().collect::<BTreeSet<_>>() {
        let sql = "SELECT EXISTS (SELECT 1 FROM owner WHERE shard = ? AND epoch = ? AND node = ? AND incarnation = ?)";
        let is_ours = transaction
            .prepare_cached(sql)?
            .query_row(params![shard, epoch, owner.node, owner.incarnation], |row| row.get(0))?;
        if is_ours {
            ours.push(*shard);
        }
    }
    give(transaction, &ours, to.as_ref()).map(Outcome::Moved)
}

/// Leaves a node's shards to nobody.
fn free(transaction: &Transaction<'_>, node: &str) -> Result<(), StoreError> {
    let mut select = transaction.prepare_cached("SELECT shard FROM owner WHERE node = ? ORDER BY shard")?;
    let shards: Vec<u16> = select.query_map([node], |row| row.get(0))?.collect::<Result<_, _>>()?;
    give(transaction, &shards, None).map(drop)
}

/// Gives shards to a node or to nobody: each has a new epoch.
fn give(transaction: &Transaction<'_>, shards: &[u16], to: Option<&Owner>) -> Result<Vec<(u16, u64)>, StoreError> {
    let sql = "INSERT INTO owner VALUES (?, 1, ?, ?) ON CONFLICT (shard) DO UPDATE
               SET epoch = epoch + 1, node = excluded.node, incarnation = excluded.incarnation RETURNING epoch";
    let mut give = transaction.prepare_cached(sql)?;
    let (node, incarnation) = to.map(|owner| (&owner.node, owner.incarnation)).unzip();
    let mut moved = Vec::with_capacity(shards.len());
    for shard in shards {
        moved.push((*shard, give.query_row(params![shard, node, incarnation], |row| row.get(0))?));
    }
    moved.sort_unstable();
    Ok(moved)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use openraft::{CommittedLeaderId, LogId};

    use super::*;

    #[test]
    fn a_disk_is_known_by_the_most_that_was_on_it_whoever_tells_of_it_later() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let transaction = connection.transaction().unwrap();
        let had = |number| Some(LogId::new(CommittedLeaderId::new(1, 1), number));
        let told = |disk, run, had| {
            know(&transaction, &Known { disk, run, had }).unwrap();
            known(&transaction).unwrap().into_iter().find(|known| known.disk == disk).unwrap()
        };
        assert_eq!(told(1, 7, None), Known { disk: 1, run: 7, had: None });
        assert_eq!(told(1, 7, had(9)), Known { disk: 1, run: 7, had: had(9) });
        assert_eq!(told(2, 5, had(3)), Known { disk: 2, run: 5, had: had(3) });
        assert_eq!(told(1, 6, had(4)), Known { disk: 1, run: 7, had: had(9) });
        assert_eq!(told(1, 8, None), Known { disk: 1, run: 7, had: had(9) });
        assert_eq!(told(1, 8, had(10)), Known { disk: 1, run: 8, had: had(10) });
    }
}
