//! Connections that read: kept for who reads next, and none while the records are opened anew. Nobody begins to read while a long log is
//! begun anew, either.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::{alarms, read, schema};
use crate::lease::Owner;
use crate::record::{Found, Head, Heads, Key, MostOfEach, MostValues, Page, Record, StoreError, Usage, Values};

/// Connections that are kept.
const KEPT: usize = 8;
/// How long those who write a file wait until those who read have ended; and how long who would begin to read waits for them at most.
pub(super) const GAP: Duration = Duration::from_secs(2);
const HELD: Duration = Duration::from_secs(5);

/// Connections to read from a file. What each function answers is said at the one of [`Records`](crate::Records) with its name.
pub(crate) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    /// Somebody has ended, or may begin.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    kept: Vec<Connection>,
    /// Connections that there are, or are being made.
    open: usize,
    /// Why there are to be none.
    closed: Option<StoreError>,
    /// Whether nobody begins to read.
    is_held: bool,
}

impl State {
    fn is_read(&self) -> bool {
        self.open > self.kept.len()
    }
}

/// Has nobody begin to read, for as long as it is held.
struct Gap<'a>(&'a Readers);

/// A place among those that are open, for as long as it is held.
struct Place<'a>(&'a Readers);

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Readers { path: path.into(), state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn read(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.reading(|connection| read::record(connection, key))
    }

    pub(crate) fn read_up_to(&self, key: &Key, most: u64) -> Result<Option<Found>, StoreError> {
        self.reading(|connection| read::record_up_to(connection, key, most))
    }

    pub(crate) fn head(&self, key: &Key) -> Result<Option<Head>, StoreError> {
        self.reading(|connection| read::head(connection, key))
    }

    pub(crate) fn value(&self, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reading(|connection| read::value(connection, key, of))
    }

    pub(crate) fn values(
        &self,
        key: &Key,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: MostValues,
    ) -> Result<Values, StoreError> {
        self.reading(|connection| read::values(connection, key, prefix, after, most))
    }

    pub(crate) fn list(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.reading(|connection| read::list(connection, class, from, limit))
    }

    pub(crate) fn heads(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Heads, StoreError> {
        self.reading(|connection| read::heads(connection, class, from, limit))
    }

    pub(crate) fn classes(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.reading(|connection| read::classes_after(connection, after, limit))
    }

    pub(crate) fn usage(&self, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
        self.reading(|connection| read::usage(connection, namespace, with_bytes))
    }

    /// Alarms of all shards; or of those of an owner, where the file has owners.
    pub(crate) fn alarms(
        &self,
        owner: Option<&Owner>,
        until: i64,
        most: &MostOfEach,
    ) -> Result<Vec<(i64, Key)>, StoreError> {
        self.reading(|connection| alarms::alarms(connection, owner, until, most))
    }

    /// Reads within one transaction.
    pub(crate) fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (place, kept) = self.enter()?;
        let mut connection = match kept {
            Some(connection) => connection,
            None => schema::readable(&self.path)?,
        };
        let transaction = connection.transaction()?;
        let found = read(&transaction)?;
        drop(transaction);
        place.keep(connection);
        Ok(found)
    }

    /// Has no connection made or kept from now on, and says of each question why; who reads at this moment goes on.
    pub(crate) fn close(&self, why: StoreError) {
        let mut state = self.state();
        state.closed = Some(why);
        let kept = std::mem::take(&mut state.kept);
        state.open = state.open.saturating_sub(kept.len());
        drop(state);
        self.changed.notify_all();
        // Whoever has the lock waits for no disk.
        drop(kept);
    }

    /// Is there none any more?
    pub(super) fn are_closed(&self) -> bool {
        self.state().open == 0
    }

    /// Has them made again.
    pub(super) fn open(&self) {
        self.state().closed = None;
    }

    /// Does something while nobody reads: no read begins before it is done. `None` when those that are under way take longer than `most`; they
    /// go on.
    pub(super) fn while_nobody_reads<T>(&self, most: Duration, act: impl FnOnce() -> T) -> Option<T> {
        self.state().is_held = true;
        let _gap = Gap(self);
        let waited = self.changed.wait_timeout_while(self.state(), most, |state| state.is_read());
        let (state, _in_time_or_not) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_read = state.is_read();
        drop(state);
        (!is_read).then(act)
    }

    fn enter(&self) -> Result<(Place<'_>, Option<Connection>), StoreError> {
        let is_held = |state: &mut State| state.is_held && state.closed.is_none();
        let waited = self.changed.wait_timeout_while(self.state(), HELD, is_held);
        // Who has waited for too long is let in: the log is begun anew another time.
        let (mut state, _in_time_or_not) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &state.closed {
            return Err(why.clone());
        }
        let kept = state.kept.pop();
        state.open = state.open.saturating_add(usize::from(kept.is_none()));
        Ok((Place(self), kept))
    }

    /// Tells whoever waits for it that a read has ended.
    fn ended(&self, state: MutexGuard<'_, State>) {
        let is_waited_for = state.is_held;
        drop(state);
        if is_waited_for {
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// A connection that has met no error may be used again.
    fn keep(self, connection: Connection) {
        let mut state = self.0.state();
        if state.closed.is_none() && state.kept.len() < KEPT {
            state.kept.push(connection);
            self.0.ended(state);
            // It has its place.
            std::mem::forget(self);
        } else {
            drop(state);
            drop(connection);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open = state.open.saturating_sub(1);
        self.0.ended(state);
    }
}

impl Drop for Gap<'_> {
    fn drop(&mut self) {
        self.0.state().is_held = false;
        self.0.changed.notify_all();
    }
}
