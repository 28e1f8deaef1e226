//! Writing, within a transaction.

use rusqlite::{Transaction, params};

use super::read::{noted, stored};
use super::schema::IMAGES_PER_RECORD;
use crate::record::{Change, Image, Key, Mark, Put, Row, StoreError, check, value_mark, xor};

/// Makes a change. Nothing is written before it is known that it may be made.
///
/// # Errors
/// Why it may not ([`is_refusal`](crate::record::is_refusal)), which leaves the transaction as it was; or what SQLite says, which
/// ends it.
pub(super) fn apply(transaction: &Transaction<'_>, key: &Key, change: &Change) -> Result<(), StoreError> {
    let before = stored(transaction, key)?;
    check(key, before.as_ref().map(|(row, _mark)| row), change)?;
    match change {
        Change::Put(change) => put(transaction, key, before, change),
        Change::Delete { .. } => match before {
            Some((before, mark)) => delete(transaction, key, &before, mark),
            None => Ok(()),
        },
    }
}

fn put(transaction: &Transaction<'_>, key: &Key, before: Option<(Row, Mark)>, change: &Put) -> Result<(), StoreError> {
    let mark_before = before.as_ref().map(|(_before, mark)| *mark);
    let mut row = match before {
        Some((row, _mark)) => row,
        None => Row::new(next(transaction)?),
    };
    let image = row.put(change);
    if matches!(change.image, Image::Whole(_)) {
        forget_images(transaction, row.id)?;
    }
    if let Some((number, bytes)) = image {
        let at = row.id.saturating_mul(IMAGES_PER_RECORD).saturating_add(number as i64);
        transaction.prepare_cached("INSERT INTO image VALUES (?, ?)")?.execute(params![at, &**bytes])?;
    }
    values(transaction, row.id, &change.values)?;

    let mark = row.mark(key);
    let sql = "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
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

fn forget_images(transaction: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    let first = id.saturating_mul(IMAGES_PER_RECORD);
    let mut delete = transaction.prepare_cached("DELETE FROM image WHERE id >= ? AND id < ?")?;
    delete.execute([first, first.saturating_add(IMAGES_PER_RECORD)])?;
    Ok(())
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

fn delete(transaction: &Transaction<'_>, key: &Key, before: &Row, mark: Mark) -> Result<(), StoreError> {
    forget_images(transaction, before.id)?;
    transaction.prepare_cached("DELETE FROM value WHERE id = ?")?.execute([before.id])?;
    transaction.prepare_cached("DELETE FROM record WHERE shard = ? AND class = ? AND name = ?")?.execute(params![
        key.shard(),
        key.class,
        key.name
    ])?;
    note(transaction, key, Some(mark), None)
}

/// Notes in the shard that a record with one mark has another from now on.
fn note(transaction: &Transaction<'_>, key: &Key, before: Option<Mark>, after: Option<Mark>) -> Result<(), StoreError> {
    let (records, sum) = noted(transaction, key)?;
    let records = records.saturating_add(u64::from(after.is_some())).saturating_sub(u64::from(before.is_some()));
    let sum = [before, after].into_iter().flatten().fold(sum, xor);
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO shard VALUES (?, ?, ?)")?;
    insert.execute(params![key.shard(), records, sum])?;
    Ok(())
}
