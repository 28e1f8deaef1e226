//! The log, and the vote: in a file of SQLite's own, which is flushed with each write.

mod file;
mod kept;
mod lengths;
mod rows;
mod unapplied;
mod vote;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, ErrorSubject, ErrorVerb, LogId, LogState, OptionalSend, RaftLogReader, Vote};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

use self::file::File;
use self::kept::Kept;
use self::lengths::Lengths;
use self::rows::{PAGE_BYTES, TABLES, entry, read_state, taken, write_state};
use self::unapplied::Unapplied;
#[cfg(all(test, target_os = "linux"))]
pub(super) use self::vote::RESUMES;
use super::full::with_room;
use super::types::{DiskId, Failure, Types, failed, packed};
use crate::record::StoreError;
use crate::sqlite::{check_log, log_written_again};

/// The format of the file.
const FORMAT: i64 = 1;

/// Bytes of entries that are read at once for another voter, unless one has more.
const READ_BYTES: usize = 1 << 20;
/// Entries whose lengths are looked at at once: who writes to the file waits for that.
const LENGTHS: u64 = 64;
/// How long it waits for who has the file.
const OPEN: Duration = Duration::from_secs(5);

/// The log of a voter. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    /// Held while the disk is waited for.
    file: Mutex<File>,
    /// Never held together with the file, nor while anything is waited for.
    kept: Kept,
    /// Whether the disk is full: what is to be appended waits.
    is_full: AtomicBool,
    /// The last entry that is committed, as far as Raft has said so. Nothing is waited for while it is locked.
    committed: Mutex<Option<LogId<DiskId>>>,
    /// Bytes of the file as it was opened, and those that were appended since.
    bytes: AtomicU64,
    /// Up to which entry the state is on the disk; `None` when it will not be any more.
    state: watch::Sender<Option<u64>>,
    unapplied: Unapplied,
    /// What the last entries take of the file. Nothing is waited for while it is locked.
    lengths: Lengths,
}

impl Log {
    /// Opens the file, and makes it if there is none, with a number for the disk. Nobody else can open it meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when it lacks what was written; when it can't be read, or is of a later version.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        check_log(path)?;
        let mut connection = Connection::open(path)?;
        // Who had it before may be about to close it.
        connection.busy_timeout(OPEN)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        let tables = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        match tables.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => {
                tables.execute_batch(TABLES)?;
                write_state(&tables, "disk", &new_disk()?)?;
                tables.pragma_update(None, "user_version", FORMAT)?;
            }
            FORMAT => {}
            found => return Err(StoreError::Newer { found, known: FORMAT }),
        }
        tables.commit()?;
        settle(&mut connection, path)?;
        let disk = read_state(&connection, "disk")?
            .ok_or_else(|| StoreError::Corrupt("the log has no number of its disk".into()))?;
        let purged = read_state(&connection, "purged")?;
        let bytes = connection.query_row(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            [],
            |row| row.get(0),
        )?;
        let committed = read_state(&connection, "committed")?;
        let file = File { connection, disk, purged, committed };
        Ok(Log(Arc::new(Shared {
            kept: Kept::new(file.first()),
            file: Mutex::new(file),
            is_full: AtomicBool::new(false),
            committed: Mutex::default(),
            bytes: AtomicU64::new(bytes),
            state: watch::Sender::new(Some(0)),
            unapplied: Unapplied::default(),
            lengths: Lengths::default(),
        })))
    }

    /// The number that the folder was made with.
    pub(super) fn disk(&self) -> DiskId {
        self.file().disk
    }

    /// Up to which entry it was purged, and the last that was in it.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn ends(&self) -> Result<[u64; 2], StoreError> {
        let LogState { last_purged_log_id, last_log_id } = self.file().state()?;
        Ok([last_purged_log_id, last_log_id].map(|id| id.map_or(0, |id| id.index)))
    }

    /// The last entry.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn last(&self) -> Result<Option<LogId<DiskId>>, StoreError> {
        Ok(self.file().state()?.last_log_id)
    }

    /// Does an entry wait for room on the disk?
    pub(super) fn is_full(&self) -> bool {
        self.0.is_full.load(Ordering::Acquire)
    }

    /// Bytes that the file has got, as if none was ever purged.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The last entry before those at the end that take so many bytes of the file at most: the very last is among these, however long it
    /// is. `None` when it is none of the last `entries`.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) async fn before_last(&self, entries: u64, bytes: u64) -> Result<Option<u64>, StoreError> {
        let (mut left, mut sum, mut before) = self.0.lengths.passed(entries, bytes);
        while left > 0 {
            let lengths = self.file().lengths(before, left.min(LENGTHS))?;
            if lengths.is_empty() {
                break;
            }
            self.0.lengths.found(&lengths);
            left = left.saturating_sub(lengths.len() as u64);
            for (number, length) in lengths {
                sum = sum.saturating_add(length);
                if sum > bytes && before.is_some() {
                    return Ok(Some(number));
                }
                before = Some(number);
            }
            // They may be very many, and others have to do on this thread as well.
            tokio::task::yield_now().await;
        }
        Ok(None)
    }

    /// The entries up to this one were applied.
    pub(super) fn applied(&self, up_to: u64) {
        self.0.unapplied.apply(up_to);
    }

    /// Bytes of the entries up to this one that are yet to be applied.
    pub(super) fn unapplied(&self, up_to: u64) -> usize {
        self.0.unapplied.bytes(up_to)
    }

    /// What came of the entries up to this one is on the disk: they may be purged.
    pub(super) fn state_is_on_disk(&self, up_to: u64) {
        self.0.state.send_if_modified(|state| {
            let is_later = state.is_some_and(|number| number < up_to);
            if is_later {
                *state = Some(up_to);
            }
            is_later
        });
    }

    /// No more of the state will be on the disk.
    pub(super) fn state_failed(&self) {
        self.0.state.send_replace(None);
    }

    /// Returns when what came of the entries up to this one is on the disk: openraft has entries purged as soon as a snapshot that has
    /// them is about to be put in place.
    async fn on_disk(&self, number: u64) -> Result<(), StoreError> {
        let mut state = self.0.state.subscribe();
        let found = state.wait_for(|state| state.is_none_or(|up_to| up_to >= number)).await;
        match found.map(|state| *state) {
            Ok(Some(_number)) => Ok(()),
            _failed => Err(StoreError::Stopped("the state was not written".into())),
        }
    }

    /// An entry that is committed, as was noted when the log was written to last, or some entries before.
    pub(super) fn committed(&self) -> Option<LogId<DiskId>> {
        self.file().committed
    }

    fn said_committed(&self) -> MutexGuard<'_, Option<LogId<DiskId>>> {
        // Nothing that can panic runs under the lock.
        self.0.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, File> {
        // Who panics leaves a transaction, which is rolled back.
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what there may be no room for.
    async fn with_room(&self, mut write: impl FnMut(&mut File) -> Result<(), StoreError>) -> Result<(), StoreError> {
        with_room(|| write(&mut self.file()), |is_full| self.0.is_full.store(is_full, Ordering::Release)).await
    }

    /// Writes entries; on a full disk as soon as there is room.
    async fn write(&self, entries: Vec<Entry<Types>>) -> Result<(), StoreError> {
        let packed = entries
            .iter()
            .map(|entry| Ok((entry.log_id.index, packed(entry)?)))
            .collect::<Result<Vec<(u64, Vec<u8>)>, StoreError>>()?;
        let committed = *self.said_committed();
        self.with_room(|file| file.append(&packed, committed)).await?;
        let taken = packed.iter().map(|(number, bytes)| (*number, taken(bytes.len() as u64)));
        self.0.bytes.fetch_add(taken.clone().map(|(_number, taken)| taken).sum(), Ordering::Relaxed);
        self.0.lengths.write(taken);
        self.0.unapplied.write(packed.iter().map(|(number, bytes)| (*number, bytes.len())));
        self.0.kept.write(entries.into_iter().zip(packed.iter().map(|(_number, bytes)| bytes.len())));
        Ok(())
    }

    /// Entries from one number to another, which is not among them, as long as they have no more bytes than that, but for the first one.
    ///
    /// # Errors
    /// When they can't be read, or one is damaged.
    pub(super) fn entries(&self, from: u64, to: u64, most: usize) -> Result<Vec<Entry<Types>>, StoreError> {
        if let Some(kept) = self.0.kept.read(from, to, most) {
            return Ok(kept);
        }
        let rows = self.file().rows(from, to, most)?;
        rows.into_iter().map(entry).collect()
    }
}

/// Has all that can be read of the log on the disk: what a flush that failed should have written can be read as long as the system does
/// not need its room.
fn settle(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let alone = Transaction::new(connection, TransactionBehavior::Immediate)?;
    log_written_again(path)?;
    drop(alone);
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
    Ok(())
}

/// A number that no other disk has.
fn new_disk() -> Result<DiskId, StoreError> {
    getrandom::u64()
        .map(|random| random >> 1)
        .map_err(|error| StoreError::Stopped(format!("there is no randomness: {error}").into()))
}

fn of_log(verb: ErrorVerb) -> impl Fn(StoreError) -> Failure {
    move |error| failed(ErrorSubject::Logs, verb, &error)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>, Failure> {
        let from = match range.start_bound() {
            Bound::Included(number) => *number,
            Bound::Excluded(number) => number.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(number) => number.saturating_add(1),
            Bound::Excluded(number) => *number,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, usize::MAX).map_err(of_log(ErrorVerb::Read))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<Types>>, Failure> {
        let found = self.entries(start, end, READ_BYTES).map_err(of_log(ErrorVerb::Read))?;
        // They are sent as what follows the entry before `start`. Those after a purge do not: of none it makes a heartbeat, and asks again.
        let follows = found.first().is_some_and(|first| first.log_id.index == start);
        Ok(if follows { found } else { Vec::new() })
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failure> {
        self.file().state().map_err(of_log(ErrorVerb::Read))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<DiskId>) -> Result<(), Failure> {
        let saved = self.with_room(|file| write_state(&file.connection, "vote", vote)).await;
        saved.map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<DiskId>>, Failure> {
        let file = self.file();
        let vote = vote::read_vote(&file.connection, file.disk);
        vote.map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Read, &error))
    }

    /// It is noted with what is appended next. Raft is not told when it starts: what the state lacks has been applied to it by then.
    async fn save_committed(&mut self, committed: Option<LogId<DiskId>>) -> Result<(), Failure> {
        *self.said_committed() = committed;
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        self.write(entries).await.map_err(of_log(ErrorVerb::Write))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<DiskId>) -> Result<(), Failure> {
        self.0.kept.truncate(log_id.index);
        self.with_room(|file| file.truncate(log_id.index)).await.map_err(of_log(ErrorVerb::Delete))?;
        self.0.unapplied.truncate(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId<DiskId>) -> Result<(), Failure> {
        self.on_disk(log_id.index).await.map_err(of_log(ErrorVerb::Delete))?;
        self.with_room(|file| file.purge(&log_id)).await.map_err(of_log(ErrorVerb::Delete))?;
        self.0.kept.purge(log_id.index);
        self.0.lengths.purge(log_id.index.saturating_add(1));
        Ok(())
    }
}
