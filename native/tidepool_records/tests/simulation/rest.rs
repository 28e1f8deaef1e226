//! When all is well again: the nodes come to rest, and each voter has what the others have, and what was answered.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::disk::Health;
use super::model::{Found, Wrong};
use super::owner::Said;
use super::world::World;
use crate::record::StoreError;
use crate::replicated::{MemberChange, Standing};

/// How long it may take until all are at rest, in ms.
const MOST: u64 = 90_000;
/// How often it is looked at.
const LOOK: u64 = 20;
/// How often a change of the members is asked for, in ms, and how long each may take.
const AGAIN: u64 = 3_000;
const CHANGE: Duration = Duration::from_secs(20);

/// All that voters have together. What each has of its own is not in it: which disk it is, and what it has received.
const TABLES: [&str; 11] =
    ["record", "image", "value", "shard", "owner", "node", "holder", "session", "staged", "known", "applied"];

impl World {
    /// Has all troubles end, waits until nothing moves any more, and looks at what there is.
    pub(super) fn rest(&mut self) -> Result<(), Wrong> {
        self.network.heal();
        self.network.lose(0);
        for host in &mut self.hosts {
            (host.stands_until, host.disk) = (0, Health::Well);
            if host.starts_at.is_some() {
                host.starts_at = Some(self.tick);
            }
        }
        self.is_quiet = true;
        let begun = self.tick;
        while !self.is_at_rest() {
            self.ticks(LOOK)?;
            if (self.tick - begun) % AGAIN < LOOK {
                self.start_stopped();
                self.replace_lost();
            }
            if self.tick - begun > MOST {
                return Err(format!("they do not come to rest: {}", self.standings()));
            }
        }
        self.compare()?;
        self.is_quiet = false;
        Ok(())
    }

    pub(super) fn standings(&self) -> String {
        let of = |host: &super::host::Host| {
            let applied = host.group().map(|group| group.machine.last());
            let metrics = host.group().map(|group| group.raft.metrics().borrow().to_string());
            format!(
                "{}: {:?} applied {applied:?} settled {} {metrics:?}",
                host.name,
                host.standing(),
                host.is_settled()
            )
        };
        self.hosts.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    /// Has nodes that were told so replaced as members.
    fn replace_lost(&mut self) {
        let voters = self.voters();
        let Some(leader) = self.leader() else { return };
        let lost = self.hosts.iter().filter(|host| host.is_new_disk).map(|host| host.index).collect::<Vec<_>>();
        for index in lost {
            let is_member = self.hosts[index].standing() == Some(Standing::Member);
            if voters.contains(&index) && is_member {
                self.hosts[index].is_new_disk = false;
            } else {
                self.change_members(leader, MemberChange::Replace(self.hosts[index].name.clone()));
            }
        }
    }

    pub(super) fn change_members(&self, by: usize, change: MemberChange) {
        let host = &self.hosts[by];
        let Some((voter, _records)) = &host.open else { return };
        let inbox = std::sync::Arc::clone(&host.inbox);
        voter.change_members(change, CHANGE, move |_members| inbox.lock().unwrap().push(Said::Members));
    }

    fn is_at_rest(&self) -> bool {
        let voters = self.voters();
        let Some(group) = self.leader().and_then(|leader| self.hosts[leader].group()) else { return false };
        let (last, is_joint) = {
            let metrics = group.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.last_log_index, metrics.membership_config.membership().get_joint_config().len() > 1)
        };
        !is_joint
            && self.hosts.iter().all(|host| host.is_settled() && !host.is_new_disk)
            && voters.iter().all(|index| {
                let host = &self.hosts[*index];
                host.standing() == Some(Standing::Member)
                    && host.group().is_some_and(|group| Some(group.machine.last()) == last)
            })
    }

    /// Has each voter what the others have, and what was answered?
    fn compare(&mut self) -> Result<(), Wrong> {
        let mut first: Option<(String, BTreeMap<&str, blake3::Hash>)> = None;
        for index in self.voters() {
            let name = self.hosts[index].name.clone();
            let Some((voter, _records)) = &self.hosts[index].open else { continue };
            let found = voter.0.readers.reading(|state| {
                let tables = TABLES.into_iter().map(|table| Ok((table, digest(state, table)?)));
                Ok((tables.collect::<Result<BTreeMap<_, _>, StoreError>>()?, records(state)?))
            });
            let (tables, records) = found.map_err(|error| format!("{name}: {error}"))?;
            for (actor, key) in self.actors.keys.iter().enumerate() {
                let found = match records.get(&key.name) {
                    None => Found::default(),
                    Some((seq, head)) => Found::of(*seq, head).ok_or("a head is not what was written")?,
                };
                let known = self.model.known(actor);
                self.model.found(actor, found, known).map_err(|wrong| format!("{name} has at rest: {wrong}"))?;
            }
            match &first {
                None => first = Some((name, tables)),
                Some((_other, same)) if *same == tables => {}
                Some((other, others)) => {
                    let differ: Vec<_> = tables.iter().filter(|(table, digest)| others[*table] != **digest).collect();
                    return Err(format!("{name} and {other} have applied the same, and differ in {differ:?}"));
                }
            }
        }
        Ok(())
    }
}

/// A digest of all rows of a table.
fn digest(state: &Connection, table: &str) -> Result<blake3::Hash, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut select = state.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
    let columns = select.column_count();
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => hasher.update(&[0]),
                ValueRef::Integer(number) => hasher.update(&number.to_le_bytes()),
                ValueRef::Real(number) => hasher.update(&number.to_le_bytes()),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes)
                }
            };
        }
    }
    Ok(hasher.finalize())
}

/// How many changes each record has had, and its head.
fn records(state: &Connection) -> Result<BTreeMap<String, (u64, Vec<u8>)>, StoreError> {
    let mut select = state.prepare("SELECT name, seq, head FROM record")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
