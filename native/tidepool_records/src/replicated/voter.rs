//! A voter: one of those who keep the log, with its disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InitializeError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use tokio::runtime::{Builder, Handle, Runtime};

use super::log::Log;
use super::machine::Machine;
use super::network::Alone;
use super::types::{Member, Types};
use crate::record::StoreError;
use crate::sqlite::Readers;

/// How long it may take until there is a leader, and what it knows to be committed is applied.
const OPEN: Duration = Duration::from_secs(15);
/// How often a leader is heard of, and after how long without one the others elect another, in ms.
const HEARTBEAT_MS: u64 = 50;
const ELECTION_MS: (u64, u64) = (150, 300);
/// Threads of the event loop: one may wait for the disk of the log, and one for that of the state.
const THREADS: usize = 3;
/// Bytes of the log, from which on it is purged of what the state has; and how often somebody looks.
const PURGE_BYTES: u64 = 64 << 20;
const PURGE_EVERY: Duration = Duration::from_secs(1);
/// Entries that are kept for voters that were away for a short time.
const KEPT_ENTRIES: u64 = 1_000;

/// A voter whose disk is open. Its clones are the same; it ends with the last of them, and of the records that were opened on it.
#[derive(Clone)]
pub struct Voter(pub(super) Arc<Disk>);

/// What a voter has.
pub(super) struct Disk {
    pub(super) raft: Raft<Types>,
    pub(super) log: Log,
    pub(super) readers: Arc<Readers>,
    pub(super) machine: Machine,
    /// It is taken when it ends.
    runtime: Option<Runtime>,
    pub(super) handle: Handle,
}

impl Voter {
    /// Opens a folder for a node that is the only voter, and makes what it lacks: `records.db`, and `log.db` beside it.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when the log lacks what was written to it, or a file is older than the other; when a file can't be read, is of a later version or in use,
    /// or the system gives no thread.
    pub fn open(folder: &Path, node: &str) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tidepool-raft")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Stopped(format!("its threads could not be started: {error}").into()))?;
        let records = folder.join("records.db");
        let log = Log::open(&folder.join("log.db"))?;
        let machine = Machine::open(&records, log.disk())?;
        fit(&log, &machine)?;
        let member = Member { node: node.into() };
        let started = async { tokio::time::timeout(OPEN, start(&log, &machine, member)).await };
        let late = |_late| stopped(&format!("it has not begun to lead within {} s", OPEN.as_secs()));
        let raft = runtime.block_on(started).map_err(late)??;
        runtime.spawn(purge(raft.clone(), log.clone()));
        let (readers, handle) = (Arc::new(Readers::new(&records)), runtime.handle().clone());
        Ok(Voter(Arc::new(Disk { raft, log, readers, machine, runtime: Some(runtime), handle })))
    }
}

/// Are both files of one time? An entry is in the log before it is applied, and it is purged only when the state that has it is on disk.
///
/// # Errors
/// [`StoreError::Behind`] when one of them is older than the other, as after a backup of it alone was put back.
fn fit(log: &Log, machine: &Machine) -> Result<(), StoreError> {
    let ([purged, last], applied) = (log.ends()?, machine.last());
    let behind = |what: String| Err(StoreError::Behind(what.into()));
    if applied < purged {
        return behind(format!(
            "records.db has what came of {applied} entries, and log.db begins behind entry {purged}"
        ));
    }
    if last < applied {
        return behind(format!("records.db has what came of {applied} entries, and log.db ends with entry {last}"));
    }
    Ok(())
}

/// Starts Raft, and returns when this voter leads, and has applied what was committed before.
async fn start(log: &Log, machine: &Machine, member: Member) -> Result<Raft<Types>, StoreError> {
    let config = Config {
        cluster_name: "tidepool".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|error| stopped(&error))?);
    let disk = log.disk();
    let raft = Raft::new(disk, config, Alone, log.clone(), machine.clone()).await.map_err(|error| stopped(&error))?;
    match raft.initialize(BTreeMap::from([(disk, member)])).await {
        // It was, at an earlier start.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => return Err(stopped(&error)),
    }
    raft.trigger().elect().await.map_err(|error| stopped(&error))?;
    let waits = raft.wait(Some(OPEN));
    waits.current_leader(disk, "the only voter leads").await.map_err(|error| stopped(&error))?;
    raft.ensure_linearizable().await.map_err(|error| stopped(&error))?;
    Ok(raft)
}

/// Has the log purged whenever it is long, for as long as Raft goes on.
async fn purge(raft: Raft<Types>, log: Log) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        if log.has_grown_by(PURGE_BYTES) && raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

pub(super) fn stopped(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Stopped(error.to_string().into())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.readers.close(StoreError::Stopped("their voter ended".into()));
        // It has ended, or could not: nothing more can be done for it.
        let ends = async { tokio::time::timeout(OPEN, self.raft.shutdown()).await };
        // What waits for room on a disk is dropped with the threads.
        let _ended = runtime.block_on(ends);
        self.machine.close();
        runtime.shutdown_timeout(OPEN);
    }
}
