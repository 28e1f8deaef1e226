//! A file that is open to write to, and its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, TransactionBehavior};

use super::identity::Identity;
use super::log::{beside, check, written_again};
use super::schema;
use crate::record::StoreError;

/// Pages that the log may have before they go to the file; and when they don't, how many more before that is tried again.
const CHECKPOINT_PAGES: u32 = 4_096;
const AGAIN_PAGES: u32 = 1_024;

/// A file that is open to write to.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// Pages of the log after the last commit.
    pages: Arc<AtomicU32>,
    checkpoint_at: u32,
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
        let opened = Opened { connection, pages, checkpoint_at: CHECKPOINT_PAGES, log };
        let is_in_file = opened.begin_log_anew();
        Ok((opened, is_in_file))
    }

    /// Is the log where it will be looked for?
    pub(super) fn log_is_in_place(&self) -> bool {
        Identity::of(&self.log.0) == self.log.1
    }

    /// Has the log put into the file, when it is long enough.
    ///
    /// # Errors
    /// When the disk fails. It has the last commits all the same, as far as they were flushed.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        // One that begins anew is short.
        if pages < CHECKPOINT_PAGES {
            self.checkpoint_at = CHECKPOINT_PAGES;
        } else if pages >= self.checkpoint_at {
            // What does not go there stays in the log, where it is found.
            let put = self.try_put_into_file();
            let is_there = matches!(put, Ok(true));
            self.checkpoint_at = if is_there { CHECKPOINT_PAGES } else { pages.saturating_add(AGAIN_PAGES) };
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
