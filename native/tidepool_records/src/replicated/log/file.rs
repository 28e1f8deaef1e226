//! What is written to the file of a log, and read from it.

use openraft::{LogId, LogState};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::rows::{Stored, delete_purged, entry, mark, stored, taken, write_state};
use crate::record::StoreError;
use crate::replicated::types::{DiskId, Types};

/// How many entries may be committed until the file says so. It is no flush more, and a page more of those that are flushed.
const COMMITTED: u64 = 16;

/// The file of a log.
pub(super) struct File {
    pub(super) connection: Connection,
    /// The number that it was made with.
    pub(super) disk: DiskId,
    /// The last entry that was purged. It may be there, and those before it, and they are read no more.
    pub(super) purged: Option<LogId<DiskId>>,
    /// An entry that is committed, as the file says. It may be one of before.
    pub(super) committed: Option<LogId<DiskId>>,
}

impl File {
    /// The first entry that may be read.
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index.saturating_add(1))
    }

    /// Writes entries, and deletes some that were purged: more of them, so that there are ever fewer. Notes what is `committed` of those
    /// before, now and then.
    pub(super) fn append(
        &mut self,
        entries: &[(u64, Vec<u8>)],
        committed: Option<LogId<DiskId>>,
    ) -> Result<(), StoreError> {
        let first = self.first();
        let due = self.committed.map_or(0, |id| id.index.saturating_add(COMMITTED));
        let committed = committed.filter(|id| id.index >= due);
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        delete_purged(&transaction, first)?;
        for (number, bytes) in entries {
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)")?;
            insert.execute(params![number, bytes, mark(*number, bytes)])?;
        }
        if let Some(committed) = &committed {
            write_state(&transaction, "committed", committed)?;
        }
        transaction.commit()?;
        self.committed = committed.or(self.committed);
        Ok(())
    }

    /// Deletes the entries from this number on.
    pub(super) fn truncate(&self, from: u64) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM entry WHERE number >= ?", [from])?;
        Ok(())
    }

    /// Nobody reads the entries up to this one any more. Who has it done sends heartbeats and gives votes, so they are deleted later.
    pub(super) fn purge(&mut self, up_to: &LogId<DiskId>) -> Result<(), StoreError> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        write_state(&transaction, "purged", up_to)?;
        delete_purged(&transaction, up_to.index.saturating_add(1))?;
        transaction.commit()?;
        self.purged = Some(*up_to);
        Ok(())
    }

    /// Where the log begins and ends.
    pub(super) fn state(&self) -> Result<LogState<Types>, StoreError> {
        let sql = "SELECT number, bytes, mark FROM entry WHERE number >= ? ORDER BY number DESC LIMIT 1";
        let last = self.connection.query_row(sql, [self.first()], stored).optional()?.map(entry).transpose()?;
        Ok(LogState { last_purged_log_id: self.purged, last_log_id: last.map(|entry| entry.log_id).or(self.purged) })
    }

    /// What the last entries take of the file, or those before that one, with their numbers: the last one first, and so many at most.
    pub(super) fn lengths(&self, before: Option<u64>, most: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        // SQLite reads a page for each that is long, and one for all those in it that are not.
        let sql =
            "SELECT number, length(bytes) FROM entry WHERE number >= ? AND number < ? ORDER BY number DESC LIMIT ?";
        let mut select = self.connection.prepare_cached(sql)?;
        let lengths =
            select.query_map(params![self.first(), before, most], |row| Ok((row.get(0)?, taken(row.get(1)?))))?;
        Ok(lengths.collect::<Result<_, _>>()?)
    }

    /// The rows of entries from one number to another, which is not among them, as long as they have no more bytes than that, but for the
    /// first one. They are decoded elsewhere: who writes to the file waits for who reads it.
    pub(super) fn rows(&self, from: u64, to: u64, most: usize) -> Result<Vec<Stored>, StoreError> {
        let from = from.max(self.first());
        let to = i64::try_from(to).unwrap_or(i64::MAX);
        let sql = "SELECT number, bytes, mark FROM entry WHERE number >= ? AND number < ? ORDER BY number";
        let mut select = self.connection.prepare_cached(sql)?;
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        for row in select.query_map(params![from, to], stored)? {
            let row = row?;
            bytes = bytes.saturating_add(row.1.len());
            if bytes > most && !found.is_empty() {
                break;
            }
            found.push(row);
        }
        Ok(found)
    }
}
