//! The log, and the vote: in a file of SQLite's own, which is flushed with each write.

mod rows;
mod unapplied;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, ErrorSubject, ErrorVerb, LogId, LogState, OptionalSend, RaftLogReader, Vote};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::watch;

use self::rows::{TABLES, delete_purged, entry, mark, read_state, stored, write_state};
use self::unapplied::Unapplied;
use super::full::with_room;
use super::types::{DiskId, Failure, Types, failed, packed};
use crate::record::StoreError;
use crate::sqlite::{check_log, log_written_again};

/// The format of the file.
const FORMAT: i64 = 1;

/// Bytes of entries that are kept in memory, and the last one however long: they are applied, and sent to others, soon after they were
/// written.
const KEPT_BYTES: usize = 16 << 20;
/// Bytes of entries that are read at once for another voter, unless one has more.
const READ_BYTES: usize = 1 << 20;
/// How long it waits for who has the file.
const OPEN: Duration = Duration::from_secs(5);

/// The log of a voter. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    file: Mutex<File>,
    /// Whether the disk is full: what is to be appended waits.
    is_full: AtomicBool,
    /// Bytes that were appended since the log was to be purged, or opened; and those that there were then.
    bytes: AtomicU64,
    /// Up to which entry the state is on the disk; `None` when it will not be any more.
    state: watch::Sender<Option<u64>>,
    unapplied: Unapplied,
}

struct File {
    connection: Connection,
    disk: DiskId,
    /// The last entry that was purged. It may be there, and those before it, and they are read no more.
    purged: Option<LogId<DiskId>>,
    /// The last entries, in order, with their bytes; and all of these.
    kept: VecDeque<(Entry<Types>, usize)>,
    kept_bytes: usize,
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
        connection.pragma_update(None, "page_size", 8_192)?;
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
        let file = File { connection, disk, purged, kept: VecDeque::new(), kept_bytes: 0 };
        Ok(Log(Arc::new(Shared {
            file: Mutex::new(file),
            is_full: AtomicBool::new(false),
            bytes: AtomicU64::new(bytes),
            state: watch::Sender::new(Some(0)),
            unapplied: Unapplied::default(),
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

    /// Were so many bytes of entries appended since this was last so?
    pub(super) fn has_grown_by(&self, bytes: u64) -> bool {
        let has_grown = self.0.bytes.load(Ordering::Relaxed) >= bytes;
        if has_grown {
            self.0.bytes.store(0, Ordering::Relaxed);
        }
        has_grown
    }

    /// The last entry before those at the end that have so many bytes together at most: the very last is among these, however long it
    /// is. `None` when it is none of the last `entries`.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn before_last(&self, entries: u64, bytes: u64) -> Result<Option<u64>, StoreError> {
        let file = self.file();
        // SQLite knows a length without the bytes.
        let sql = "SELECT number, length(bytes) FROM entry WHERE number >= ? ORDER BY number DESC LIMIT ?";
        let mut select = file.connection.prepare_cached(sql)?;
        let (mut found, mut sum, mut is_last) = (select.query([file.first(), entries])?, 0_u64, true);
        while let Some(row) = found.next()? {
            let (number, length): (u64, u64) = (row.get(0)?, row.get(1)?);
            sum = sum.saturating_add(length);
            if sum > bytes && !is_last {
                return Ok(Some(number));
            }
            is_last = false;
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
        self.with_room(|file| file.append(&packed)).await?;
        self.0.bytes.fetch_add(packed.iter().map(|(_number, bytes)| bytes.len() as u64).sum(), Ordering::Relaxed);
        self.0.unapplied.write(packed.iter().map(|(number, bytes)| (*number, bytes.len())));
        self.file().keep(entries.into_iter().zip(packed.iter().map(|(_number, bytes)| bytes.len())));
        Ok(())
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

impl File {
    /// The first entry that may be read.
    fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index.saturating_add(1))
    }

    /// Writes entries, and deletes some that were purged: more of them, so that there are ever fewer.
    fn append(&mut self, entries: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let first = self.first();
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        delete_purged(&transaction, first)?;
        for (number, bytes) in entries {
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)")?;
            insert.execute(params![number, bytes, mark(*number, bytes)])?;
        }
        Ok(transaction.commit()?)
    }

    fn keep(&mut self, entries: impl Iterator<Item = (Entry<Types>, usize)>) {
        for (entry, bytes) in entries {
            // One takes the place of what a leader of before has left.
            let first = entry.log_id.index;
            if self.kept.back().is_some_and(|(last, _bytes)| last.log_id.index >= first) {
                self.forget(|number| number >= first);
            }
            self.kept_bytes = self.kept_bytes.saturating_add(bytes);
            self.kept.push_back((entry, bytes));
        }
        while self.kept_bytes > KEPT_BYTES && self.kept.len() > 1 {
            let Some((_entry, bytes)) = self.kept.pop_front() else { break };
            self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
        }
    }

    /// Keeps none of these numbers in memory.
    fn forget(&mut self, is_gone: impl Fn(u64) -> bool) {
        self.kept.retain(|(entry, _bytes)| !is_gone(entry.log_id.index));
        self.kept_bytes = self.kept.iter().map(|(_entry, bytes)| bytes).sum();
    }

    fn truncate(&mut self, from: u64) -> Result<(), StoreError> {
        self.forget(|number| number >= from);
        self.connection.execute("DELETE FROM entry WHERE number >= ?", [from])?;
        Ok(())
    }

    /// Nobody reads the entries up to this one any more. Who has it done sends heartbeats and gives votes, so they are deleted later.
    fn purge(&mut self, up_to: &LogId<DiskId>) -> Result<(), StoreError> {
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        write_state(&transaction, "purged", up_to)?;
        delete_purged(&transaction, up_to.index.saturating_add(1))?;
        transaction.commit()?;
        self.purged = Some(*up_to);
        self.forget(|number| number <= up_to.index);
        Ok(())
    }

    fn state(&self) -> Result<LogState<Types>, StoreError> {
        let sql = "SELECT number, bytes, mark FROM entry WHERE number >= ? ORDER BY number DESC LIMIT 1";
        let last = self.connection.query_row(sql, [self.first()], stored).optional()?.map(entry).transpose()?;
        Ok(LogState { last_purged_log_id: self.purged, last_log_id: last.map(|entry| entry.log_id).or(self.purged) })
    }

    /// Entries from one number to another, which is not among them, as long as they have no more bytes than that.
    fn entries(&self, from: u64, to: u64, most: usize) -> Result<Vec<Entry<Types>>, StoreError> {
        let from = from.max(self.first());
        if self.kept.front().is_some_and(|(first, _bytes)| first.log_id.index <= from) {
            let mut room = most;
            let kept = self.kept.iter().filter(|(entry, _bytes)| (from..to).contains(&entry.log_id.index));
            let fit = kept.enumerate().take_while(|(nth, (_entry, bytes))| {
                let fits = *bytes <= room;
                room = room.saturating_sub(*bytes);
                fits || *nth == 0
            });
            return Ok(fit.map(|(_nth, (entry, _bytes))| entry.clone()).collect());
        }
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
            found.push(entry(row)?);
        }
        Ok(found)
    }
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
        self.file().entries(from, to, usize::MAX).map_err(of_log(ErrorVerb::Read))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<Types>>, Failure> {
        self.file().entries(start, end, READ_BYTES).map_err(of_log(ErrorVerb::Read))
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

    // A leader that starts again would go on as one, without asking the others, and with a state that is behind its log. Its own vote
    // is one that nobody has answered yet: it asks them.
    async fn read_vote(&mut self) -> Result<Option<Vote<DiskId>>, Failure> {
        let file = self.file();
        let vote: Option<Vote<DiskId>> = read_state(&file.connection, "vote")
            .map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Read, &error))?;
        Ok(vote.map(|vote| match vote.leader_id().voted_for() {
            Some(disk) if disk == file.disk => Vote::new(vote.leader_id().get_term(), disk),
            _another => vote,
        }))
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
        self.with_room(|file| file.truncate(log_id.index)).await.map_err(of_log(ErrorVerb::Delete))?;
        self.0.unapplied.truncate(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId<DiskId>) -> Result<(), Failure> {
        self.on_disk(log_id.index).await.map_err(of_log(ErrorVerb::Delete))?;
        self.with_room(|file| file.purge(&log_id)).await.map_err(of_log(ErrorVerb::Delete))
    }
}
