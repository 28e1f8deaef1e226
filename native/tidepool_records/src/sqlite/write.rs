//! Writing, within a transaction.

use rusqlite::{Connection, Transaction, params};

use super::erase::erase;
use super::forget::{delete, note};
use super::gone::{self, forget_images};
use super::read::{noted, stored};
use super::schema::image_rows;
use crate::record::{
    CROWD, Change, Crowd, Image, Key, Mark, Put, Row, StoreError, Total, begins, check, has_place, most_of, value_mark,
};

/// Makes a change as [`apply`] does, unless it is of a new record whose shard has enough of its namespace: what is put back from an archive
/// may be such a one.
///
/// # Errors
/// [`StoreError::Crowded`], or as for [`apply`].
pub(super) fn make(transaction: &Transaction<'_>, key: &Key, change: &Change, total: &Total) -> Result<(), StoreError> {
    if let Some(begin) = change.record().filter(|_put| begins(change)) {
        has_room(transaction, key, begin, 0, total)?;
    }
    apply(transaction, key, change)
}

/// Is there room for a record that begins so, with as many beside it that count with it and are not written yet? Is it new, then?
///
/// # Errors
/// [`StoreError::Crowded`] when there is none, or what SQLite says.
pub(crate) fn has_room(
    connection: &Connection,
    key: &Key,
    begin: &Put,
    beside: u64,
    total: &Total,
) -> Result<bool, StoreError> {
    let shard = key.shard();
    let (in_shard, _sum) = noted(connection, shard, key)?;
    if in_shard.saturating_add(beside) < CROWD {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM record WHERE shard = ? AND class = ? AND name = ?)";
    if connection.prepare_cached(sql)?.query_row(params![shard, key.class, key.name], |row| row.get(0))? {
        return Ok(false);
    }
    let Crowd { classes: [from, to], heads } = Crowd::of(key, &begin.head);
    let records: u64 = match heads {
        // No head is read of those that may have long ones.
        None => connection
            .prepare_cached("SELECT count(*) FROM record WHERE shard = ? AND class >= ? AND class < ?")?
            .query_row(params![shard, from, to], |row| row.get(0))?,
        Some([first, after]) => connection
            .prepare_cached(
                "SELECT count(*) FROM record WHERE shard = ? AND class >= ? AND class < ? AND head >= ? AND head < ?",
            )?
            .query_row(params![shard, from, to, first, after], |row| row.get(0))?,
    };
    let records = records.saturating_add(beside);
    if records >= CROWD {
        has_place(key, records, most_of(all(connection, total)?))?;
    }
    Ok(true)
}

fn all(connection: &Connection, total: &Total) -> Result<u64, StoreError> {
    if let Some(all) = total.known() {
        return Ok(all);
    }
    let all =
        connection.prepare_cached("SELECT coalesce(sum(records), 0) FROM shard")?.query_row([], |row| row.get(0))?;
    total.learn(all);
    Ok(all)
}

/// May images go when a change is made, with the record that is there?
pub(crate) fn may_replace(change: &Change) -> bool {
    matches!(change, Change::Put(Put { image: Image::Whole(_), seq: 2.., .. }))
}

/// How many bytes of images go when a change is made, as far as can be read: those of a record whose next one is whole. What goes with a record
/// that is gone is bounded by itself.
pub(crate) fn replaced(connection: &Connection, key: &Key, change: &Change) -> usize {
    if !may_replace(change) {
        return 0;
    }
    let sql = "SELECT bytes FROM record WHERE shard = ? AND class = ? AND name = ?";
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut select| select.query_row(params![key.shard(), key.class, key.name], |row| row.get::<_, i64>(0)));
    // What can't be read, or is not there, is for who makes the change to say.
    found.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
}

/// Makes a change. Nothing is written before it is known that it may be made.
///
/// # Errors
/// Why it may not ([`is_refusal`](crate::record::is_refusal)), which leaves the transaction as it was; or what SQLite says, which
/// ends it.
pub(crate) fn apply(transaction: &Transaction<'_>, key: &Key, change: &Change) -> Result<(), StoreError> {
    if matches!(change, Change::Erase { .. }) {
        return erase(transaction, key, change);
    }
    let before = stored(transaction, key)?;
    check(key, before.as_ref().map(|(row, _mark)| row), change)?;
    match change {
        Change::Put(change) => {
            let (row, mark) = before.unzip();
            put(transaction, key, row, mark, change)
        }
        Change::Reset(change) => {
            let mark = match before {
                Some((row, mark)) => gone::leave(transaction, key, row.id).map(|()| Some(mark))?,
                None => None,
            };
            // Under another id, for values and images of the one before may be left for a while.
            put(transaction, key, None, mark, change)
        }
        Change::Delete { .. } | Change::Erase { .. } => match before {
            Some((before, mark)) => delete(transaction, key, &before, mark),
            None => Ok(()),
        },
    }
}

/// Writes a record, which has had this mark.
fn put(
    transaction: &Transaction<'_>,
    key: &Key,
    before: Option<Row>,
    mark_before: Option<Mark>,
    change: &Put,
) -> Result<(), StoreError> {
    let mut row = match before {
        Some(row) => row,
        None => Row::new(next(transaction)?),
    };
    let image = row.put(change);
    if matches!(change.image, Image::Whole(_)) {
        forget_images(transaction, row.id)?;
    }
    if let Some((number, bytes)) = image {
        let [first, _after] = image_rows(row.id);
        let at = first.saturating_add(number as i64);
        transaction.prepare_cached("INSERT INTO image VALUES (?, ?)")?.execute(params![at, &**bytes])?;
    }
    values(transaction, row.id, &change.values)?;

    let mark = row.mark(key);
    // What is replaced as a whole has its entries in all indexes made anew.
    let sql = "INSERT INTO record (shard, class, name, id, epoch, seq, alarm_at, head, links, chain, bytes, mark)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (shard, class, name) DO UPDATE SET id = excluded.id, epoch = excluded.epoch, seq = excluded.seq,
               alarm_at = excluded.alarm_at, head = excluded.head, links = excluded.links, chain = excluded.chain,
               bytes = excluded.bytes, mark = excluded.mark";
    transaction.prepare_cached(sql)?.execute(params![
        key.shard(),
        key.class,
        key.name,
        row.id,
        row.epoch,
        row.seq,
        row.alarm_at,
        row.head,
        row.links,
        row.chain,
        row.bytes,
        mark,
    ])?;
    note(transaction, key, mark_before, Some(mark))
}

/// The id of a record that is new.
fn next(transaction: &Transaction<'_>) -> Result<i64, StoreError> {
    let mut next = transaction.prepare_cached("UPDATE next SET id = id + 1 RETURNING id - 1")?;
    Ok(next.query_row([], |row| row.get(0))?)
}

fn values(transaction: &Transaction<'_>, id: i64, values: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
    for (key, value) in values {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?)")?
                .execute(params![id, key, value, value_mark(id, key, value)])?,
            None => {
                transaction.prepare_cached("DELETE FROM value WHERE id = ? AND key = ?")?.execute(params![id, key])?
            }
        };
    }
    Ok(())
}
