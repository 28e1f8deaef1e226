//! The last command of each proposer, and what came of it: one that is proposed twice is applied once, and one that comes after a later one
//! never is.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Command, Outcome, Ticket, What};
use crate::record::StoreError;
use crate::replicated::types::{packed, unpacked};

/// Proposers whose last commands are kept, of those that have had one applied last. Each start of a node has two.
const KEPT: u32 = 4_096;

/// What came of a command, if it was applied before; or that it never is.
///
/// # Errors
/// When it can't be read.
pub(super) fn before(transaction: &Transaction<'_>, command: &Command) -> Result<Option<Outcome>, StoreError> {
    let Ticket { session, number } = command.ticket;
    let sql = "SELECT number, outcome FROM session WHERE id = ? AND leases = ?";
    let found: Option<(u64, Vec<u8>)> = transaction
        .prepare_cached(sql)?
        .query_row(params![id(session), is_of_leases(command)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((last, outcome)) if last == number => unpacked(&outcome).map(Some),
        Some((last, _outcome)) if last > number => Ok(Some(Outcome::Late)),
        _earlier_or_none => Ok(None),
    }
}

/// Notes what came of a command, which is the entry of this number.
///
/// # Errors
/// When it can't be written.
pub(super) fn note(
    transaction: &Transaction<'_>,
    entry: u64,
    command: &Command,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let Ticket { session, number } = command.ticket;
    let sql = "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?)";
    let row = params![id(session), is_of_leases(command), number, packed(outcome)?, entry];
    transaction.prepare_cached(sql)?.execute(row)?;
    if matches!(outcome, Outcome::Renewed { is_new: true }) {
        let sql = "DELETE FROM session WHERE entry <= (SELECT entry FROM session ORDER BY entry DESC LIMIT 1 OFFSET ?)";
        transaction.prepare_cached(sql)?.execute([KEPT])?;
    }
    Ok(())
}

fn is_of_leases(command: &Command) -> bool {
    matches!(command.what, What::Lease(_))
}

/// A session as SQLite has it.
fn id(session: u64) -> i64 {
    session.cast_signed()
}
