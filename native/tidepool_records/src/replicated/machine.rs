//! The state machine: records, leases and shards in one file, and in the same transaction how far the log was applied to them.
//!
//! The file is not flushed with each transaction. After a loss of power it is one that was, and the log has what comes next: so no
//! entry is removed from that before the file is flushed.

mod reapply;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta,
    StoredMembership,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{Notify, watch};

use super::claim::{Claim, Known};
use super::command::{Outcome, TABLES, apply, known, leases};
use super::full::with_room;
use super::log::Log;
use super::snapshot::{Snapshot, aside};
use super::types::{Applied, DiskId, Failure, Member, Types, failed, packed, unpacked};
use crate::lease::Watch;
use crate::record::StoreError;
use crate::sqlite::{self, Opened, Pace, Readers};

/// The state machine of a voter. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Machine {
    path: PathBuf,
    log: Log,
    readers: Arc<Readers>,
    /// Told when nobody reads any more, where others wait for that.
    quiet: Arc<Notify>,
    state: Arc<Mutex<State>>,
    /// What is known of disks, by what was applied.
    known: Arc<RwLock<Vec<Known>>>,
    /// The leases, each since it was applied as it is.
    leases: Arc<Mutex<Watch>>,
    on_disk: Arc<RwLock<Option<LogId<DiskId>>>>,
    /// The number of the last entry that was applied.
    applied: Arc<watch::Sender<u64>>,
    /// Whether the disk is full: what is to be applied waits.
    is_full: Arc<AtomicBool>,
}

struct State {
    opened: Opened,
    readers: Arc<Readers>,
    applied: Applied,
    disk: DiskId,
    /// Whether a snapshot was made or received since the start.
    has_snapshot: bool,
    /// When images of records that are gone are deleted next.
    pace: Pace,
    /// Why nothing is applied any more, where Raft has not been told.
    failed: Option<StoreError>,
}

impl Machine {
    /// Opens the file of a disk, and makes it if there is none.
    ///
    /// # Errors
    /// When it can't be read, is of a later version, of another kind of store, or of another disk.
    pub(super) fn open(path: &Path, log: &Log) -> Result<Self, StoreError> {
        let disk = log.disk();
        // What the file lacks at its end is in the log.
        let opened = Opened::of_voter(path)?;
        opened.connection.pragma_update(None, "synchronous", "normal")?;
        opened.connection.execute_batch(TABLES)?;
        opened.connection.execute_batch(&sqlite::index_of_owners())?;
        opened.connection.execute("INSERT OR IGNORE INTO disk VALUES (1, ?)", [disk])?;
        if opened.connection.query_row("SELECT number FROM disk", [], |row| row.get::<_, DiskId>(0))? != disk {
            return Err(StoreError::Behind("records.db is of another folder than log.db".into()));
        }
        let applied = applied(&opened.connection)?;
        let number = number(&applied);
        log.state_is_on_disk(number);
        // Who lacks what was purged needs one.
        let has_snapshot = log.ends()?[0] > 0;
        let quiet = Arc::new(Notify::new());
        let told = Arc::clone(&quiet);
        let readers = Arc::new(Readers::new(path, move || told.notify_one()));
        let state = State {
            opened,
            readers: Arc::clone(&readers),
            applied,
            disk,
            has_snapshot,
            pace: Pace::new(),
            failed: None,
        };
        let machine = Machine {
            path: path.into(),
            log: log.clone(),
            readers,
            quiet,
            state: Arc::new(Mutex::new(state)),
            known: Arc::default(),
            leases: Arc::default(),
            on_disk: Arc::default(),
            applied: Arc::new(watch::Sender::new(number)),
            is_full: Arc::default(),
        };
        machine.know()?;
        Ok(machine)
    }

    /// Who reads what was applied.
    pub(super) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// The last entry that was applied.
    pub(super) fn last(&self) -> u64 {
        number(&self.state().applied)
    }

    /// Which that is, when the folder is opened.
    pub(super) fn last_id(&self) -> Option<LogId<DiskId>> {
        self.state().applied.0
    }

    /// An entry that is on the disk, or what came of it, whatever happens to the machine: the last one that was applied, as far as that is
    /// known.
    pub(super) fn on_disk(&self) -> Option<LogId<DiskId>> {
        *self.on_disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry was applied, and is on the disk, or what came of it is.
    fn is_on_disk(&self) {
        let last = self.last_id();
        *self.on_disk.write().unwrap_or_else(PoisonError::into_inner) = last;
        let number = last.map_or(0, |id| id.index);
        self.log.applied(number);
        self.applied.send_replace(number);
    }

    /// What is known of a disk.
    pub(super) fn known(&self, disk: DiskId) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|known| known.disk == disk).copied()
    }

    /// The leases, each since this state has it as it is. How long they last is for who asks.
    pub(super) fn leases(&self) -> MutexGuard<'_, Watch> {
        // Nothing that can panic runs under the lock.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is a disk of the time that it was, as far as is known here?
    pub(super) fn fits(&self, disk: DiskId, claim: &Claim) -> bool {
        self.known(disk).is_none_or(|known| claim.fits(&known))
    }

    /// Was the last entry that was applied part of a snapshot that was received?
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn is_as_received(&self) -> Result<bool, StoreError> {
        let state = self.state();
        let sql = "SELECT EXISTS (SELECT 1 FROM received WHERE number = ?)";
        Ok(state.opened.connection.query_row(sql, [number(&state.applied)], |row| row.get(0))?)
    }

    /// Returns when an entry was applied.
    ///
    /// # Errors
    /// When none will be any more.
    pub(super) async fn applied(&self, number: u64) -> Result<(), watch::error::RecvError> {
        self.applied.subscribe().wait_for(|applied| *applied >= number).await.map(drop)
    }

    /// Was an entry applied?
    pub(super) fn has_applied(&self, number: u64) -> bool {
        *self.applied.borrow() >= number
    }

    /// Does something wait for room on the disk?
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// Writes what there may be no room for.
    async fn with_room<T>(&self, mut write: impl FnMut(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let write = || {
            let mut state = self.state();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            write(&mut state)
        };
        with_room(write, |is_full| self.is_full.store(is_full, Ordering::Release)).await
    }

    /// Has the log of the file begun anew as soon as nobody reads it, where others wait for that: nothing may be applied for some time.
    pub(super) async fn begin_log_anew(self) {
        loop {
            self.quiet.notified().await;
            let machine = self.clone();
            let _looked = aside(move || machine.checkpoint()).await;
        }
    }

    fn checkpoint(&self) {
        let mut state = self.state();
        if let Err(error) = state.opened.checkpoint(&self.readers) {
            // What a flush has lost once is not found missing by the next one.
            self.log.state_failed();
            state.failed = Some(error);
        }
    }

    /// Knows of disks and of leases what was applied.
    ///
    /// A lease counts from when its renewal was applied here, and not from when somebody looks. This is not before its owner's own count began:
    /// the owner counts from before it asks for the renewal, it is proposed after that, and no voter applies an entry before it is
    /// proposed. So who counts as long as a lease lasts from here on ends it after its owner has, as when it had heard of it only later.
    /// It may be later: of one that catches up, has its state by a snapshot, or has just started, which counts all leases from then on.
    fn know(&self) -> Result<(), StoreError> {
        let (disks, rows) = {
            let state = self.state();
            (known(&state.opened.connection)?, leases(&state.opened.connection)?)
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = disks;
        // Only now, and never by the clock of who has proposed it.
        self.leases().saw(rows, Duration::ZERO, Instant::now());
        Ok(())
    }

    /// Puts what is in the log of the file into it.
    pub(super) fn close(&self) {
        self.state().opened.put_into_file();
    }

    /// Has nothing applied for as long as it is held.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized {
        self.state()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Who panics leaves a transaction, which is rolled back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot of what was applied, which is on the disk: the log is not needed for it any more.
    fn snapshot(&self) -> Result<openraft::Snapshot<Types>, StoreError> {
        let mut state = self.state();
        let snapshot = Snapshot::of(&self.path)?;
        let (last_log_id, last_membership) = state.applied.clone();
        state.has_snapshot = true;
        drop(state);
        crate::sqlite::flush_log(&self.path)?;
        let number = last_log_id.map_or(0, |id| id.index);
        self.log.state_is_on_disk(number);
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id: format!("{number}") };
        Ok(openraft::Snapshot { meta, snapshot: Box::new(snapshot) })
    }
}

impl State {
    fn apply(&mut self, entries: &[Entry<Types>]) -> Result<Vec<Outcome>, StoreError> {
        let transaction = Transaction::new(&mut self.opened.connection, TransactionBehavior::Immediate)?;
        let mut now = self.applied.clone();
        let mut outcomes = Vec::new();
        for entry in entries {
            now.0 = Some(entry.log_id);
            outcomes.push(match &entry.payload {
                EntryPayload::Blank => Outcome::None,
                EntryPayload::Normal(command) => {
                    let is_alone = now.1.membership().voter_ids().count() == 1;
                    apply(&transaction, entry.log_id.index, command, is_alone)?
                }
                EntryPayload::Membership(members) => {
                    now.1 = StoredMembership::new(Some(entry.log_id), members.clone());
                    Outcome::None
                }
            });
        }
        // Once, however many commands there are, and at each voter's own pace: the leases among them wait for it. Voters have as many of them
        // left as each has been slow, or as its release leaves, and then none. Nothing that comes of a command depends on any: no record has
        // their ids, or ever will.
        sqlite::sweep_images(&transaction, &mut self.pace)?;
        note(&transaction, &now)?;
        transaction.commit()?;
        self.applied = now;
        // Nothing else has the file flushed: what it says of that is not to be passed over.
        self.opened.checkpoint(&self.readers)?;
        Ok(outcomes)
    }

    fn install(&mut self, meta: &SnapshotMeta<DiskId, Member>, snapshot: &Snapshot) -> Result<(), StoreError> {
        let now = (meta.last_log_id, meta.last_membership.clone());
        snapshot.replace(&mut self.opened.connection, |snapshot| {
            // It may be of a version that has fewer.
            snapshot.execute_batch(TABLES)?;
            sqlite::add(snapshot)?;
            snapshot.execute_batch(&sqlite::index_of_owners())?;
            snapshot.execute("INSERT OR REPLACE INTO disk VALUES (1, ?)", [self.disk])?;
            snapshot.execute("INSERT OR REPLACE INTO received VALUES (1, ?)", [number(&now)])?;
            note(snapshot, &now)
        })?;
        self.applied = now;
        self.has_snapshot = true;
        Ok(())
    }
}

/// The number of the last entry.
fn number((last, _members): &Applied) -> u64 {
    last.map_or(0, |id| id.index)
}

/// How far the log was applied to what is in the file.
fn applied(connection: &Connection) -> Result<Applied, StoreError> {
    let found: Option<Vec<u8>> = connection.query_row("SELECT state FROM applied", [], |row| row.get(0)).optional()?;
    found.map_or_else(|| Ok(Applied::default()), |bytes| unpacked(&bytes))
}

fn note(connection: &Connection, applied: &Applied) -> Result<(), StoreError> {
    let mut replace = connection.prepare_cached("INSERT OR REPLACE INTO applied VALUES (1, ?)")?;
    replace.execute(params![packed(applied)?])?;
    Ok(())
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<DiskId>>, StoredMembership<DiskId, Member>), Failure> {
        Ok(self.state().applied.clone())
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, Failure>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let is_of_leases =
            |entry: &Entry<Types>| matches!(&entry.payload, EntryPayload::Normal(command) if command.is_of_leases());
        let outcomes = self.with_room(|state| state.apply(&entries)).await;
        let outcomes = match outcomes {
            Ok(outcomes) if entries.iter().any(is_of_leases) => self.know().map(|()| outcomes),
            other => other,
        };
        if outcomes.is_ok() {
            self.is_on_disk();
        } else {
            self.log.state_failed();
        }
        outcomes.map_err(|error| failed(ErrorSubject::StateMachine, ErrorVerb::Write, &error))
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Snapshot>, Failure> {
        let empty = Snapshot::empty().map(Box::new);
        empty.map_err(|error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<DiskId, Member>,
        snapshot: Box<Snapshot>,
    ) -> Result<(), Failure> {
        let installed = self.with_room(|state| state.install(meta, &snapshot)).await;
        let installed = installed.and_then(|()| crate::sqlite::flush_log(&self.path)).and_then(|()| self.know());
        match &installed {
            Ok(()) => {
                self.log.state_is_on_disk(self.last());
                self.is_on_disk();
            }
            Err(_told_below) => self.log.state_failed(),
        }
        installed.map_err(|error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<openraft::Snapshot<Types>>, Failure> {
        if !self.state().has_snapshot {
            return Ok(None);
        }
        self.build_snapshot().await.map(Some)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<Types>, Failure> {
        self.snapshot().map_err(|error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))
    }
}
