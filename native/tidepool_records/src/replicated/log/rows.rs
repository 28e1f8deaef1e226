//! What is in the file of a log: each row with a mark, by which damage is found.

use openraft::Entry;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::record::{Mark, StoreError, finish, hasher};
use crate::replicated::types::{Types, packed, unpacked};

pub(super) const TABLES: &str = "
CREATE TABLE entry (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL, mark BLOB NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, bytes BLOB NOT NULL, mark BLOB NOT NULL) WITHOUT ROWID;
";

/// Bytes of a page of the file; and what a row has beside the bytes of its entry: its number, its mark, and their lengths.
pub(super) const PAGE_BYTES: u64 = 8 << 10;
const BESIDE_BYTES: u64 = 28;

/// Bytes of entries that are deleted at once, each of which counts as some: every page of theirs is read. An entry has fewer.
const PIECE_BYTES: u64 = 4 << 20;
const LEAST_BYTES: u64 = 1 << 10;

/// A row of an entry: its number, its bytes, and their mark.
pub(super) type Stored = (u64, Vec<u8>, Mark);

pub(super) fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// What a page has of a row at most, and at least of one that is longer (SQLite's file format, 1.6).
const IN_PAGE_BYTES: u64 = PAGE_BYTES - 35;
const LEAST_IN_PAGE_BYTES: u64 = 1 << 10;

/// The bytes that an entry of so many takes in the file: a page has whole rows, and what is longer than a page has some for itself, and a
/// row of the rest.
pub(super) fn taken(bytes: u64) -> u64 {
    let row = bytes.saturating_add(BESIDE_BYTES);
    let rest = row % PAGE_BYTES;
    let rows = PAGE_BYTES.checked_div(rest);
    let of_rest = rows.and_then(|rows| PAGE_BYTES.checked_div(rows)).unwrap_or(0);
    let of_rest = if row > IN_PAGE_BYTES { of_rest.max(LEAST_IN_PAGE_BYTES) } else { of_rest };
    row.saturating_sub(rest).saturating_add(of_rest)
}

fn state_mark(name: &str, bytes: &[u8]) -> Mark {
    let mut hasher = hasher("state");
    hasher.update(name.as_bytes()).update(&[0]).update(bytes);
    finish(&hasher)
}

pub(super) fn mark(number: u64, bytes: &[u8]) -> Mark {
    let mut hasher = hasher("entry");
    hasher.update(&number.to_le_bytes()).update(bytes);
    finish(&hasher)
}

/// The entry of a row.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is not what was written.
pub(super) fn entry((number, bytes, written): Stored) -> Result<Entry<Types>, StoreError> {
    if mark(number, &bytes) != written {
        return Err(StoreError::Corrupt(format!("entry {number} of the log is damaged").into()));
    }
    unpacked(&bytes)
}

pub(super) fn read_state<T: for<'a> Deserialize<'a>>(
    connection: &Connection,
    name: &str,
) -> Result<Option<T>, StoreError> {
    let mut select = connection.prepare_cached("SELECT bytes, mark FROM state WHERE name = ?")?;
    let found = select.query_row([name], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Mark>(1)?))).optional()?;
    match found {
        Some((bytes, mark)) if mark == state_mark(name, &bytes) => unpacked(&bytes).map(Some),
        Some(_) => Err(StoreError::Corrupt(format!("the {name} of the log is damaged").into())),
        None => Ok(None),
    }
}

pub(super) fn write_state<T: Serialize>(connection: &Connection, name: &str, value: &T) -> Result<(), StoreError> {
    let mut replace = connection.prepare_cached("INSERT OR REPLACE INTO state VALUES (?, ?, ?)")?;
    let bytes = packed(value)?;
    replace.execute(params![name, bytes, state_mark(name, &bytes)])?;
    Ok(())
}

/// Deletes a piece of the entries before this one.
///
/// # Errors
/// When they can't be deleted.
pub(super) fn delete_purged(transaction: &Transaction<'_>, before: u64) -> Result<(), StoreError> {
    // SQLite knows a length without the bytes.
    let sql = "SELECT number, length(bytes) FROM entry WHERE number < ? ORDER BY number";
    let mut select = transaction.prepare_cached(sql)?;
    let (mut found, mut last, mut sum) = (select.query([before])?, None, 0_u64);
    while sum < PIECE_BYTES
        && let Some(row) = found.next()?
    {
        let (number, bytes): (u64, u64) = (row.get(0)?, row.get(1)?);
        (last, sum) = (Some(number), sum.saturating_add(bytes.max(LEAST_BYTES)));
    }
    drop(found);
    if let Some(last) = last {
        transaction.prepare_cached("DELETE FROM entry WHERE number <= ?")?.execute([last])?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use openraft::storage::RaftLogStorage;
    use openraft::{CommittedLeaderId, EntryPayload, LogId, RaftLogReader};

    use super::super::Log;
    use super::*;
    use crate::lease::Owner;
    use crate::replicated::command::{Command, Ticket, What};

    fn id(number: u64) -> LogId<u64> {
        LogId::new(CommittedLeaderId::new(1, 1), number)
    }

    fn entry(number: u64, bytes: usize) -> Entry<Types> {
        let owner = Owner { node: "a".into(), incarnation: 1 };
        let what = What::Stage { at: 0, bytes: vec![7; bytes] };
        let command = Command { owner, ticket: Ticket { session: 1, number }, what };
        Entry { log_id: id(number), payload: EntryPayload::Normal(command.into()) }
    }

    fn rows(log: &Log) -> u64 {
        log.file().connection.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_is_purged_of_a_log_is_read_no_more_and_is_deleted_in_pieces_as_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut log = Log::open(&path).unwrap();
        runtime.block_on(log.write((0..40).map(|number| entry(number, 1 << 20)).collect())).unwrap();
        log.state_is_on_disk(39);
        runtime.block_on(log.purge(id(37))).unwrap();
        let mut left = rows(&log);
        assert!(left > 30, "{left} of 40");
        // A start changes nothing of that.
        for _start in 0..2 {
            assert_eq!(log.ends().unwrap(), [37, 39]);
            let read = runtime.block_on(log.try_get_log_entries(0..100)).unwrap();
            assert!(read.iter().map(|entry| entry.log_id.index).eq([38, 39]));
            // Another voter gets what it asks for, or nothing: what begins later would be taken for what follows.
            let mut sent = |start| runtime.block_on(log.limited_get_log_entries(start, 100)).unwrap();
            assert_eq!(
                [20, 37, 38, 39].map(|start| sent(start).first().map(|it| it.log_id.index)),
                [None, None, Some(38), Some(39)]
            );
            assert_eq!(runtime.block_on(log.before_last(1_000, 1 << 20)).unwrap(), Some(38));
            assert_eq!(runtime.block_on(log.before_last(1_000, 9 << 20)).unwrap(), None);
            drop(log);
            log = Log::open(&path).unwrap();
        }
        for number in 40..60 {
            runtime.block_on(log.write(vec![entry(number, 10)])).unwrap();
            let now = rows(&log);
            assert!(left.saturating_sub(now) <= 4, "{left} were left, and {now}");
            left = now;
        }
        assert_eq!(left, 22, "those of 38 to 59");
    }

    #[test]
    fn the_last_entries_that_have_so_many_bytes_are_found_however_many_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let log = Log::open(&folder.path().join("log.db")).unwrap();
        runtime.block_on(log.write((0..1_000).map(|number| entry(number, 10)).collect())).unwrap();
        let lengths = log.file().lengths(None, 700).unwrap();
        assert!(lengths.iter().map(|(number, _taken)| *number).eq((300..1_000).rev()));
        let sum: u64 = lengths.into_iter().map(|(_number, taken)| taken).sum();
        let before = |entries, bytes| runtime.block_on(log.before_last(entries, bytes)).unwrap();
        assert_eq!([before(1_000, sum), before(1_000, sum - 1)], [Some(299), Some(300)]);
        assert_eq!([before(701, sum), before(700, sum), before(700, sum - 1)], [Some(299), None, Some(300)]);
        assert_eq!([before(1_000, u64::MAX), before(0, 0), before(1, 0), before(2, 0)], [None, None, None, Some(998)]);
    }

    #[test]
    fn what_entries_are_counted_to_take_is_what_they_take_of_the_file_whatever_their_length() {
        for bytes in [10, 700, 3_000, 5_000, 7_900, 8_150, 9_000, 13_000, 16_200, 40_000, 1 << 20] {
            let folder = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let log = Log::open(&folder.path().join("log.db")).unwrap();
            let pages = || -> u64 {
                log.file()
                    .connection
                    .query_row("SELECT page_count FROM pragma_page_count", [], |row| row.get(0))
                    .unwrap()
            };
            let (before, many) = (pages(), (4 << 20) / bytes.max(400) as u64);
            runtime.block_on(log.write((0..many).map(|number| entry(number, bytes)).collect())).unwrap();
            let counted: u64 = log.file().lengths(None, many).unwrap().into_iter().map(|(_number, taken)| taken).sum();
            let takes = (pages() - before) * PAGE_BYTES;
            assert!(
                counted * 100 / takes >= 90 && counted * 100 / takes <= 110,
                "{counted} of {takes}, each of {bytes}"
            );
        }
    }
}
