//! A file that is open to write to, and its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::identity::Identity;
use super::log::{beside, check, written_again};
use super::readers::{Quiet, Readers};
use super::schema;
use crate::record::StoreError;

/// Pages that the log may have before they go to the file; and when they don't, how many more before that is tried again.
const CHECKPOINT_PAGES: u32 = 4_096;
const AGAIN_PAGES: u32 = 1_024;
/// Of a log with so many nobody reads until those who do have ended, 256 MiB; and when one has not, how many more before that is tried again.
const LONG_PAGES: u32 = 32_768;
const LONG_AGAIN_PAGES: u32 = 8_192;
/// How long others wait for those who read a long log; and how long at most, when it is twice as long after each time that was not enough.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(8);

/// A file that is open to write to.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Pages of the log after the last commit.
    pages: Arc<AtomicU32>,
    checkpoint_at: u32,
    /// When the log is long.
    long_at: u32,
    /// How long nobody begins to read it, for the sake of those who do.
    patience: Duration,
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
        let (checkpoint_at, long_at) = (CHECKPOINT_PAGES, LONG_PAGES);
        let opened = Opened { connection, pages, checkpoint_at, long_at, patience: PATIENCE, log };
        let is_in_file = opened.begin_log_anew();
        Ok((opened, is_in_file))
    }

    /// Is the log where it will be looked for?
    pub(super) fn log_is_in_place(&self) -> bool {
        Identity::of(&self.log.0) == self.log.1
    }

    /// Has the log put into the file, when it is long enough. SQLite begins it anew once all of it is there and nobody reads what is in it, so
    /// that it grows for as long as one reads after the other without a gap (<https://sqlite.org/wal.html>, "checkpoint starvation"). When it
    /// has grown long, `readers` have one: nobody begins to read until those who do have ended. Who writes does not wait for them, and has it
    /// looked at once more after each commit, for a voter has votes to give meanwhile, and a file's writer has all others' changes; and when
    /// those who read have ended, so that nobody waits for a commit that does not come.
    ///
    /// # Errors
    /// When the disk fails. It has the last commits all the same, as far as they were flushed.
    pub(crate) fn checkpoint(&mut self, readers: &Readers) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        // One that begins anew is short.
        if pages < CHECKPOINT_PAGES {
            (self.checkpoint_at, self.patience) = (CHECKPOINT_PAGES, PATIENCE);
        }
        let is_due = pages >= CHECKPOINT_PAGES && pages >= self.checkpoint_at;
        let is_held = readers.are_held();
        if !(is_due || is_held) {
            return Ok(());
        }
        let is_long = pages >= self.long_at;
        // What does not go there stays in the log, where it is found.
        let mut put = if is_held { Ok(false) } else { self.try_put_into_file() };
        if is_held || (is_long && matches!(put, Ok(false))) {
            // Little of it is left to be put there.
            match readers.while_nobody_reads(self.patience, || self.try_put_into_file()) {
                Quiet::Done(done) => put = done,
                Quiet::Soon => return Ok(()),
                Quiet::InVain => self.patience = self.patience.saturating_mul(2).min(LONGEST),
            }
        }
        let is_there = matches!(put, Ok(true));
        let again = if is_long { LONG_AGAIN_PAGES } else { AGAIN_PAGES };
        self.checkpoint_at = if is_there { CHECKPOINT_PAGES } else { pages.saturating_add(again) };
        match put {
            Ok(_) | Err(StoreError::Full) => Ok(()),
            Err(error) => Err(error),
        }
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
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn a_log_begins_anew_however_many_read_one_after_the_other_without_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut opened = Opened::new(&path).unwrap();
        opened.long_at = 2 * CHECKPOINT_PAGES;
        let (readers, ends, all_read) = (Readers::new(&path, || ()), AtomicBool::new(false), Barrier::new(5));
        let longest = thread::scope(|scope| {
            // Whenever one ends another is in the midst of its own.
            for nth in 0..4_u64 {
                let (readers, ends, all_read) = (&readers, &ends, &all_read);
                scope.spawn(move || {
                    let mut is_first = true;
                    while !ends.load(Ordering::Relaxed) {
                        let apart = if std::mem::replace(&mut is_first, false) { 25 * nth + 1 } else { 0 };
                        let read = readers.reading(|connection| {
                            connection.query_row("SELECT count(*) FROM image", [], |row| row.get::<_, u64>(0))?;
                            if apart > 0 {
                                all_read.wait();
                            }
                            thread::sleep(Duration::from_millis(100 + apart));
                            Ok(connection.query_row("SELECT count(*) FROM image", [], |row| row.get::<_, u64>(0))?)
                        });
                        read.unwrap();
                    }
                });
            }
            all_read.wait();
            let (mut longest, mut id) = (0, 0_u32);
            while opened.pages.load(Ordering::Relaxed) >= longest && longest < 4 * LONG_PAGES {
                longest = opened.pages.load(Ordering::Relaxed);
                let write = opened.connection.unchecked_transaction().unwrap();
                write.execute("INSERT OR REPLACE INTO image VALUES (?, zeroblob(?))", [id % 16, 64 * 8_192]).unwrap();
                write.commit().unwrap();
                id += 1;
                opened.checkpoint(&readers).unwrap();
            }
            ends.store(true, Ordering::Relaxed);
            longest
        });
        assert!(longest >= opened.long_at, "{longest} pages");
        // What was written while one read went on, however slow the machine is.
        assert!(longest < 4 * LONG_PAGES, "{longest} pages");
        opened.close();
    }

    #[test]
    fn who_writes_waits_for_no_read_of_a_long_log_and_no_other_begins_until_that_has_ended_or_takes_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let (opened, readers) = (Opened::new(&path).unwrap(), Readers::new(&path, || ()));
        let long = Duration::from_secs(3_600);
        let held = |patience| readers.while_nobody_reads(patience, || ());
        let read = readers.reading(|_connection| {
            assert!(matches!(held(long), Quiet::Soon));
            assert!(matches!(held(long), Quiet::Soon));
            Ok(())
        });
        read.unwrap();
        assert!(matches!(held(long), Quiet::Done(())));
        let read = readers.reading(|_connection| {
            assert!(matches!(held(Duration::ZERO), Quiet::Soon));
            assert!(matches!(held(Duration::ZERO), Quiet::InVain));
            Ok(())
        });
        read.unwrap();
        // Others begin again.
        readers.reading(|_connection| Ok(())).unwrap();
        assert!(matches!(held(Duration::ZERO), Quiet::Done(())));
        opened.close();
    }
}
