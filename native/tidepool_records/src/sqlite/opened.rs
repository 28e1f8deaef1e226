//! A file that is open to write to, and its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::identity::Identity;
use super::log::{beside, check, written_again};
use super::readers::Readers;
use super::schema;
use crate::record::StoreError;

/// Pages that the log may have before they go to the file; and when they don't, how many more before that is tried again.
const CHECKPOINT_PAGES: u32 = 4_096;
const AGAIN_PAGES: u32 = 1_024;
/// Of a log with so many nobody reads until those who do have ended, 256 MiB; and when one has not, how many more before that is tried again.
const LONG_PAGES: u32 = 32_768;
const LONG_AGAIN_PAGES: u32 = 8_192;

/// A file that is open to write to.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Pages of the log after the last commit.
    pages: Arc<AtomicU32>,
    checkpoint_at: u32,
    /// When the log is long.
    long_at: u32,
    log: (PathBuf, Identity),
}

impl Opened {
    /// Opens a file, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when it would be older than what was answered; when it can't be opened, or is of a later version.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        check(path)?;
        Self::settled(schema::writable(path)?, path, || {}).map(|(opened, _is_in_file)| opened)
    }

    /// Opens a file that was open, and failed; it takes a commit. `settled` is called as soon as all that can be read is on the disk.
    ///
    /// # Errors
    /// As for [`Opened::new`].
    pub(super) fn again(path: &Path, settled: impl FnOnce()) -> Result<Self, StoreError> {
        check(path)?;
        let (mut opened, is_in_file) = Self::settled(schema::writable_again(path)?, path, settled)?;
        // The log begins anew, or it would need the room that there was not.
        is_in_file?;
        opened.probe()?;
        Ok(opened)
    }

    /// Opens a file with what is left of it: what was answered may be lost, and is not missed any more.
    ///
    /// # Errors
    /// When it can't be opened, or written.
    pub(super) fn as_it_is(path: &Path) -> Result<Self, StoreError> {
        let (opened, is_in_file) = Self::settled(schema::writable(path)?, path, || {})?;
        is_in_file.map(|()| opened)
    }

    /// The same of a voter's, which has elsewhere what is lost.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn of_voter(path: &Path) -> Result<Self, StoreError> {
        let (opened, is_in_file) = Self::settled(schema::writable_of_voter(path)?, path, || {})?;
        is_in_file.map(|()| opened)
    }

    fn settled(
        mut connection: Connection,
        path: &Path,
        settled: impl FnOnce(),
    ) -> Result<(Self, Result<(), StoreError>), StoreError> {
        let alone = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        written_again(path)?;
        drop(alone);
        settled();
        let pages = Arc::new(AtomicU32::new(0));
        connection.wal_hook(Some({
            let pages = Arc::clone(&pages);
            move |_log: &mut rusqlite::hooks::Wal, count| {
                pages.store(u32::try_from(count).unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            }
        }))?;
        let log = beside(path, "-wal");
        let log = (log.clone(), Identity::of(&log));
        let opened = Opened { connection, pages, checkpoint_at: CHECKPOINT_PAGES, long_at: LONG_PAGES, log };
        let is_in_file = opened.begin_log_anew();
        Ok((opened, is_in_file))
    }

    /// Is the log where it will be looked for?
    pub(super) fn log_is_in_place(&self) -> bool {
        Identity::of(&self.log.0) == self.log.1
    }

    /// Has the log put into the file, when it is long enough. SQLite begins it anew once all of it is there and nobody reads what is in it, so
    /// that it grows for as long as one reads after the other without a gap (<https://sqlite.org/wal.html>, "checkpoint starvation"). When it
    /// has grown long, `readers` have one, if those that read are done within `most`.
    ///
    /// # Errors
    /// When the disk fails. It has the last commits all the same, as far as they were flushed.
    pub(crate) fn checkpoint(&mut self, readers: &Readers, most: Duration) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        // One that begins anew is short.
        if pages < CHECKPOINT_PAGES {
            self.checkpoint_at = CHECKPOINT_PAGES;
        } else if pages >= self.checkpoint_at {
            // What does not go there stays in the log, where it is found.
            let mut put = self.try_put_into_file();
            let is_long = pages >= self.long_at;
            if is_long && matches!(put, Ok(false)) {
                // Little of it is left to be put there.
                put = readers.while_nobody_reads(most, || self.try_put_into_file()).unwrap_or(put);
            }
            let is_there = matches!(put, Ok(true));
            let again = if is_long { LONG_AGAIN_PAGES } else { AGAIN_PAGES };
            self.checkpoint_at = if is_there { CHECKPOINT_PAGES } else { pages.saturating_add(again) };
            return match put {
                Ok(_) | Err(StoreError::Full) => Ok(()),
                Err(error) => Err(error),
            };
        }
        Ok(())
    }

    /// Has the log put into the file, as far as nobody reads what would be written over. Is all of it there?
    pub(crate) fn put_into_file(&self) -> bool {
        self.try_put_into_file().unwrap_or(false)
    }

    fn try_put_into_file(&self) -> Result<bool, StoreError> {
        let (busy, pages, put) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        Ok(busy == 0 && pages == put)
    }

    /// The same, and the log is empty afterwards; not if somebody reads it at this moment, which is no error.
    fn begin_log_anew(&self) -> Result<(), StoreError> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
        Ok(())
    }

    /// Does it take a commit?
    pub(super) fn probe(&mut self) -> Result<(), StoreError> {
        let probe = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        probe.execute("UPDATE next SET id = id", [])?;
        probe.commit().map_err(StoreError::of_commit)
    }

    /// Closes it. Who closes the last connection has the log removed, once all of it is in the file.
    pub(super) fn close(self) {
        self.put_into_file();
        drop(self);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::super::readers::GAP;
    use super::*;

    #[test]
    fn a_log_begins_anew_however_many_read_one_after_the_other_without_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut opened = Opened::new(&path).unwrap();
        opened.long_at = 2 * CHECKPOINT_PAGES;
        let (readers, ends) = (Readers::new(&path), AtomicBool::new(false));
        let longest = thread::scope(|scope| {
            // Whenever one ends another is in the midst of its own.
            for nth in 0..4_u64 {
                let (readers, ends) = (&readers, &ends);
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(10 * nth));
                    while !ends.load(Ordering::Relaxed) {
                        let read = readers.reading(|connection| {
                            connection.query_row("SELECT count(*) FROM image", [], |row| row.get::<_, u64>(0))?;
                            thread::sleep(Duration::from_millis(40));
                            Ok(connection.query_row("SELECT count(*) FROM image", [], |row| row.get::<_, u64>(0))?)
                        });
                        read.unwrap();
                    }
                });
            }
            let mut longest = 0;
            for id in 0..3 * opened.long_at / 64 {
                let write = opened.connection.unchecked_transaction().unwrap();
                write.execute("INSERT OR REPLACE INTO image VALUES (?, zeroblob(?))", [id % 16, 64 * 8_192]).unwrap();
                write.commit().unwrap();
                longest = longest.max(opened.pages.load(Ordering::Relaxed));
                opened.checkpoint(&readers, GAP).unwrap();
            }
            ends.store(true, Ordering::Relaxed);
            longest
        });
        assert!(longest >= CHECKPOINT_PAGES, "{longest} pages");
        assert!(longest < opened.long_at + LONG_AGAIN_PAGES, "{longest} pages");
        opened.close();
    }
}
