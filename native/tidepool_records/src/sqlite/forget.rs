//! Having less of a record, within a transaction; and what is noted of the shard when there is less, or another, or more.

use rusqlite::{Transaction, params};

use super::gone;
use super::read::noted;
use super::schema::IMAGES_PER_RECORD;
use crate::record::{Key, Mark, Row, StoreError, xor};

pub(super) fn delete(transaction: &Transaction<'_>, key: &Key, before: &Row, mark: Mark) -> Result<(), StoreError> {
    forget_what_it_has(transaction, key, before.id)?;
    forget_row(transaction, key)?;
    note(transaction, key, Some(mark), None)
}

/// Images and values. Nobody is to have the id any more.
pub(super) fn forget_what_it_has(transaction: &Transaction<'_>, key: &Key, id: i64) -> Result<(), StoreError> {
    forget_images(transaction, id)?;
    gone::leave(transaction, key, id)
}

pub(super) fn forget_row(transaction: &Transaction<'_>, key: &Key) -> Result<(), StoreError> {
    transaction.prepare_cached("DELETE FROM record WHERE shard = ? AND class = ? AND name = ?")?.execute(params![
        key.shard(),
        key.class,
        key.name
    ])?;
    Ok(())
}

/// Notes in the shard that a record with one mark has another from now on.
pub(super) fn note(
    transaction: &Transaction<'_>,
    key: &Key,
    before: Option<Mark>,
    after: Option<Mark>,
) -> Result<(), StoreError> {
    let (records, sum) = noted(transaction, key.shard(), key)?;
    let records = records.saturating_add(u64::from(after.is_some())).saturating_sub(u64::from(before.is_some()));
    tally(transaction, key, records, [before, after].into_iter().flatten().fold(sum, xor))
}

/// What is noted of the shard from now on.
pub(super) fn tally(transaction: &Transaction<'_>, key: &Key, records: u64, sum: Mark) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO shard VALUES (?, ?, ?)")?;
    insert.execute(params![key.shard(), records, sum])?;
    Ok(())
}

pub(super) fn forget_images(transaction: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    let first = id.saturating_mul(IMAGES_PER_RECORD);
    let mut delete = transaction.prepare_cached("DELETE FROM image WHERE id >= ? AND id < ?")?;
    delete.execute([first, first.saturating_add(IMAGES_PER_RECORD)])?;
    Ok(())
}
