//! Connections that read: kept for who reads next, and none while the records are opened anew. Nobody begins to read while a long log is
//! begun anew, either.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{alarms, read, schema};
use crate::lease::Owner;
use crate::record::{Found, Head, Heads, Key, MostOfEach, MostValues, Page, Record, StoreError, Usage, Values};

/// Connections that are kept.
const KEPT: usize = 8;
/// How long who would begin to read waits at most for what is done while nobody reads.
const HELD: Duration = Duration::from_secs(5);

/// Connections to read from a file. What each function answers is said at the one of [`Records`](crate::Records) with its name.
pub(crate) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    /// Somebody may begin.
    changed: Condvar,
    /// Is called when nobody reads any more, where others wait for that: who writes may have nothing else to do.
    quiet: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    kept: Vec<Connection>,
    /// Connections that there are, or are being made.
    open: usize,
    /// Why there are to be none.
    closed: Option<StoreError>,
    /// Until when nobody begins to read.
    held_until: Option<Instant>,
}

impl State {
    fn is_read(&self) -> bool {
        self.open > self.kept.len()
    }

    /// How long who would begin to read waits yet.
    fn held(&self) -> Option<Duration> {
        let until = self.held_until.filter(|_until| self.closed.is_none())?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// What became of something that is to be done while nobody reads.
pub(super) enum Quiet<T> {
    /// It was done.
    Done(T),
    /// Some read yet, and no others begin: it is to be tried again soon.
    Soon,
    /// Some have read for longer than others wait for them: those begin again.
    InVain,
}

/// Has nobody begin to read, for as long as it is held.
struct Gap<'a>(&'a Readers);

/// A place among those that are open, for as long as it is held.
struct Place<'a>(&'a Readers);

impl Readers {
    /// `quiet` is called when nobody reads any more, and others wait until something is done: see `Readers::while_nobody_reads`.
    pub(crate) fn new(path: &Path, quiet: impl Fn() + Send + Sync + 'static) -> Self {
        Readers { path: path.into(), state: Mutex::default(), changed: Condvar::new(), quiet: Box::new(quiet) }
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
        let mut state = self.state();
        // Who has waited for too long is let in: the log is begun anew another time.
        while let Some(left) = state.held() {
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.reading_from(state, read)
    }

    /// The same of few rows, for who writes, or others' heartbeats wait for: it does not wait until a long log is begun anew.
    pub(crate) fn reading_at_once<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reading_from(self.state(), read)
    }

    fn reading_from<T>(
        &self,
        state: MutexGuard<'_, State>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (place, kept) = self.enter(state)?;
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

    /// Do others wait to read, until something is done while nobody does?
    pub(super) fn are_held(&self) -> bool {
        self.state().held_until.is_some()
    }

    /// Does something if nobody reads: no read begins before it is done. If somebody does, no other read begins for as long as `patience`, from
    /// the first try on. The caller waits for none: it writes on, and tries again after that, and when it is told that they have ended.
    pub(super) fn while_nobody_reads<T>(&self, patience: Duration, act: impl FnOnce() -> T) -> Quiet<T> {
        let (mut state, now) = (self.state(), Instant::now());
        if state.is_read() {
            match state.held_until {
                None => state.held_until = Some(now + patience),
                Some(until) if until > now => {}
                Some(_over) => {
                    state.held_until = None;
                    return Quiet::InVain;
                }
            }
            return Quiet::Soon;
        }
        state.held_until = Some(now + HELD);
        drop(state);
        let _gap = Gap(self);
        Quiet::Done(act())
    }

    fn enter(&self, mut state: MutexGuard<'_, State>) -> Result<(Place<'_>, Option<Connection>), StoreError> {
        if let Some(why) = &state.closed {
            return Err(why.clone());
        }
        let kept = state.kept.pop();
        state.open = state.open.saturating_add(usize::from(kept.is_none()));
        drop(state);
        Ok((Place(self), kept))
    }

    /// Has others wait to read for so long, as where a log is long.
    #[cfg(test)]
    pub(crate) fn hold(&self, patience: Duration) {
        self.state().held_until = Some(Instant::now() + patience);
    }

    /// A read has ended.
    fn ended(&self, state: MutexGuard<'_, State>) {
        let is_quiet = state.held_until.is_some() && !state.is_read();
        drop(state);
        if is_quiet {
            (self.quiet)();
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
        self.0.state().held_until = None;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use crate::sqlite::File;

    use super::*;

    #[test]
    fn who_waits_for_those_who_read_a_long_log_waits_no_longer_than_they_read_and_for_no_change_then() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(&folder.path().join("records"), Box::new(|_why| {})).unwrap();
        let readers = file.readers();
        let (tell, told) = mpsc::channel();
        let read = readers.reading(|_connection| {
            readers.hold(Duration::from_secs(3_600));
            readers.reading_at_once(|_connection| Ok(()))
        });
        read.unwrap();
        thread::spawn(move || drop(tell.send(file.readers().reading(|_connection| Ok(())))));
        told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    }
}
