//! Erasing a record that may be damaged.

use rusqlite::{OptionalExtension, Transaction, params};

use super::forget::{delete, forget_row, tally};
use super::gone;
use super::read::{noted, stored, sum};
use crate::record::{Change, Key, Mark, StoreError, check, xor};

/// Has nothing left of a record.
///
/// # Errors
/// As for any change; [`StoreError::Damaged`] of the shard when there is no row of it, and there may have been one.
pub(super) fn erase(transaction: &Transaction<'_>, key: &Key, change: &Change) -> Result<(), StoreError> {
    let broken = match stored(transaction, key) {
        Ok(Some((row, mark))) => {
            check(key, Some(&row), change)?;
            return delete(transaction, key, &row, mark);
        }
        Ok(None) => return Ok(()),
        Err(error @ StoreError::Damaged { .. }) => error,
        Err(error) => return Err(error),
    };
    let sql = "SELECT id, mark FROM record WHERE shard = ? AND class = ? AND name = ?";
    let row = transaction
        .query_row(sql, params![key.shard(), key.class, key.name], |row| {
            // Of whatever type they are by now.
            Ok((row.get::<_, i64>(0).ok(), row.get::<_, Mark>(1).ok()))
        })
        .optional()?;
    let Some((id, mark)) = row else { return Err(broken) };
    // What is another's stays, whatever number is in the row.
    if let Some(id) = id.filter(|id| *id > 0)
        && !is_of_another(transaction, key, id)?
    {
        gone::leave(transaction, key, id)?;
    }
    let (records, before) = noted(transaction, key.shard(), key)?;
    let found = sum(transaction, key.shard(), key).ok().map(|(found, _sum)| found);
    forget_row(transaction, key)?;
    let after = match (found, sum(transaction, key.shard(), key)) {
        // No row was missing, so what is left is what there is to be.
        (Some(found), Ok((_left, sum))) if found == records => sum,
        _ => xor(before, mark.unwrap_or_default()),
    };
    tally(transaction, key, records.saturating_sub(1), after)
}

fn is_of_another(transaction: &Transaction<'_>, key: &Key, id: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM record WHERE id = ? AND NOT (shard = ? AND class = ? AND name = ?))";
    Ok(transaction.query_row(sql, params![id, key.shard(), key.class, key.name], |row| row.get(0))?)
}
