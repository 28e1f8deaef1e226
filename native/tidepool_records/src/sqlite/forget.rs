//! Having less of a record, within a transaction; and what is noted of the shard when there is less, or another, or more.

use rusqlite::{Transaction, params};

use super::gone;
use super::read::noted;
use crate::record::{Key, Mark, Row, StoreError, xor};

pub(super) fn delete(transaction: &Transaction<'_>, key: &Key, before: &Row, mark: Mark) -> Result<(), StoreError> {
    gone::leave(transaction, key, before.id)?;
    forget_row(transaction, key)?;
    note(transaction, key, Some(mark), None)
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
