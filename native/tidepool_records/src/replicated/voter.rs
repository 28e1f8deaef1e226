//! A voter: one of those who keep the log, with its disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::Fatal;
use openraft::{Config, Raft, SnapshotPolicy};
use rusqlite::ErrorCode;
use tokio::runtime::{Builder, Handle, Runtime};

use tokio::sync::watch;

use super::claim::Claim;
use super::full::is_full;
use super::group::{Group, Standing, Unanswered, stopped};
use super::log::Log;
use super::machine::Machine;
use super::members::lag::Lag;
use super::members::{MemberChange, MemberState, Since, finish, give_up_lead, join, since_alone, watch_others};
use super::network::{Alone, Links, Network};
use super::rpc::{Lead, Led};
use super::snapshot::{Sends, fresh, has_room_to_keep, remove_left};
use super::types::{DiskId, Member, Types};
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
/// How often somebody looks whether the state waits for room. What waits at two looks is no single write that was tried again.
const ROOM_EVERY: Duration = Duration::from_millis(250);
/// Entries that a voter that was away is sent at a time.
const SENT_ENTRIES: u64 = 64;
/// Entries that are kept for voters that were away for some minutes, at some hundred a second, and the bytes that these may have. Who
/// lacks more gets all of the state, which is copied on the disk of who sends it, and takes twice as much on its own.
const KEPT_ENTRIES: u64 = 200_000;
const KEPT_BYTES: u64 = 512 << 20;

/// A voter whose disk is open. Its clones are the same; it ends with the last of them, and of the records that were opened on it.
#[derive(Clone)]
pub struct Voter(pub(super) Arc<Disk>);

/// What a voter has.
pub(super) struct Disk {
    pub(super) group: Group,
    pub(super) readers: Arc<Readers>,
    /// It is taken when it ends.
    pub(super) runtime: Option<Runtime>,
    pub(super) handle: Handle,
}

impl Voter {
    /// Opens a folder for a node that is the only voter, and makes what it lacks: `records.db`, and `log.db` beside it.
    ///
    /// # Errors
    /// As for [`Voter::open`].
    pub fn alone(folder: &Path, node: &str) -> Result<Self, StoreError> {
        Self::open(folder, node, &[node.to_owned()], Arc::new(Alone))
    }

    /// Opens a folder for a node, and makes what it lacks. Where there is no group yet, it begins with the nodes that are `named`: once
    /// each of them is there, and names the same. Does not wait for others.
    ///
    /// # Errors
    /// [`StoreError::NoVoter`] when the log lacks what was written to it, a file is older than the other, or the folder is open already;
    /// [`StoreError::Full`] when there is no room for what is to be written before it begins: opened again it goes on from there; when a
    /// file can't be read, is of a later version or in use, or the system gives no thread.
    pub fn open(folder: &Path, node: &str, named: &[String], links: Arc<dyn Links>) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tidepool-raft")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Stopped(format!("its threads could not be started: {error}").into()))?;
        Self::open_on(runtime, folder, node, named, links)
    }

    /// The same with these threads, which are its own from then on.
    pub(super) fn open_on(
        runtime: Runtime,
        folder: &Path,
        node: &str,
        named: &[String],
        links: Arc<dyn Links>,
    ) -> Result<Self, StoreError> {
        let records = folder.join("records.db");
        let opened = || {
            let log = Log::open(&folder.join("log.db"))?;
            let machine = Machine::open(&records, &log)?;
            fit(&log, &machine)?;
            Ok((log, machine))
        };
        let (log, machine) = opened().map_err(|error| match error {
            // What is left may not be accepted, as of a node's own records: what this voter has said is on its disk counts for others.
            StoreError::Behind(why) => StoreError::NoVoter(
                format!(
                    "{why}. Put back what was there; or if it is lost, start {node} with an empty folder, and have it replaced as a member"
                )
                .into(),
            ),
            StoreError::Sqlite(why) if why.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => StoreError::NoVoter(
                format!(
                    "the folder of {node} is open elsewhere: if another node runs on it, stop one, and give each a data folder of its own"
                )
                .into(),
            ),
            error if is_full(&error) => StoreError::Full,
            error => error,
        })?;
        machine.reapply()?;
        remove_left(folder)?;
        let founders = named.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let claim = Claim { run: fresh()?, opened: log.last()?.max(machine.last_id()) };
        let lag = Arc::new(Lag::new());
        let network = Network {
            links,
            own: log.disk(),
            claim,
            machine: machine.clone(),
            lag: Arc::clone(&lag),
            sends: Arc::new(Sends::default()),
        };
        let waits_for_room = {
            let (log, machine) = (log.clone(), machine.clone());
            move || log.is_full() || machine.is_full()
        };
        let started = async {
            let raft = raft(&log, &machine, network.clone()).await?;
            let group = Group {
                raft,
                log,
                machine,
                network,
                own: Member { node: node.into() },
                founders,
                folder: folder.into(),
                standing: Arc::new(watch::Sender::new(Standing::Waiting("it has just begun".into()))),
                lag,
                turns: Arc::default(),
                is_earlier: Arc::default(),
                holds: Arc::default(),
                changing: Arc::default(),
                receiving: Arc::default(),
                taking: Arc::default(),
            };
            start(&group).await.map(|()| group)
        };
        let late = |_late| match waits_for_room() {
            true => StoreError::Full,
            false => stopped(&format!("it has not begun to lead within {} s", OPEN.as_secs())),
        };
        let group = runtime.block_on(async { tokio::time::timeout(OPEN, started).await }).map_err(late)??;
        runtime.spawn(purge(group.clone(), PURGE_BYTES));
        runtime.spawn(group.machine.clone().begin_log_anew());
        runtime.spawn(watch_others(group.clone()));
        runtime.spawn(finish(group.clone()));
        runtime.spawn(give_way(group.clone()));
        let (readers, handle) = (Arc::clone(group.machine.readers()), runtime.handle().clone());
        Ok(Voter(Arc::new(Disk { group, readers, runtime: Some(runtime), handle })))
    }

    /// Has this voter answer what the voter of another node has asked; `done` is called with the answer. Does not wait.
    pub fn answer(&self, node: &str, question: Bytes, done: impl FnOnce(Vec<u8>) + Send + 'static) {
        let (group, node) = (self.0.group.clone(), node.to_owned());
        self.0.handle.spawn(async move { done(group.answer(&node, &question).await) });
    }

    /// Tells what is known of each member, by the voter that leads.
    ///
    /// # Errors
    /// `done` is told [`StoreError::Away`] when none has said so within that time.
    pub fn members(&self, within: Duration, done: impl FnOnce(Result<Vec<MemberState>, StoreError>) + Send + 'static) {
        self.ask(Lead::Members, within, |led| {
            done(led.and_then(|led| match led {
                Led::Members(members) => Ok(members),
                other => Err(unfit(&other)),
            }))
        });
    }

    /// Has the members changed, and tells them when they are.
    ///
    /// # Errors
    /// `done` is told [`StoreError::Members`] when they are not, and why; [`StoreError::Unknown`] when nobody has said so within that
    /// time: asking again is the same change.
    pub fn change_members(
        &self,
        change: MemberChange,
        within: Duration,
        done: impl FnOnce(Result<Vec<MemberState>, StoreError>) + Send + 'static,
    ) {
        self.ask(Lead::Change(change), within, |led| {
            done(led.and_then(|led| match led {
                Led::Changed(members) => Ok(members),
                Led::Refused(why) => Err(StoreError::Members(why.into())),
                other => Err(unfit(&other)),
            }))
        });
    }

    fn ask(&self, ask: Lead, within: Duration, done: impl FnOnce(Result<Led, StoreError>) + Send + 'static) {
        let group = self.0.group.clone();
        self.0.handle.spawn(async move {
            // It is none of those that could answer, and knows none of them.
            let waits =
                if let Standing::Waiting(why) = &*group.standing.borrow() { Some(Arc::clone(why)) } else { None };
            if let Some(why) = waits {
                return done(Err(StoreError::Away(why)));
            }
            let led = group.ask_leader(&ask, within).await.map_err(|Unanswered { error, may_be }| match error {
                StoreError::Away(why) | StoreError::NoVoter(why) if may_be && matches!(ask, Lead::Change(_)) => {
                    StoreError::Unknown(why)
                }
                error => error,
            });
            done(led);
        });
    }

    /// Whether it is one of a group.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let group = &self.0.group;
        match group.goes_on() {
            Err(StoreError::Stopped(why)) => match group.remedy(&why) {
                Some(remedy) => Standing::Stopped(format!("{why}. What to do: {remedy}").into()),
                None => Standing::Stopped(why),
            },
            Ok(()) if group.is_full() => Standing::Full,
            _goes_on => group.standing.borrow().clone(),
        }
    }

    /// Has another voter lead, if this one does and is not alone, for it is about to end: what the others write waits for some milliseconds,
    /// and not until they miss it. `done` is called when another leads, or when that has not come about within this time.
    pub fn give_up_lead(&self, within: Duration, done: impl FnOnce() + Send + 'static) {
        let group = self.0.group.clone();
        self.0.handle.spawn(async move {
            give_up_lead(&group, within).await;
            done();
        });
    }

    /// The names of the nodes that are members, as far as this voter knows: none before there is a group. Asks no other.
    #[must_use]
    pub fn known_members(&self) -> Vec<String> {
        let metrics = self.0.group.raft.metrics();
        let metrics = metrics.borrow();
        let names = metrics.membership_config.membership().nodes().map(|(_disk, Member { node })| node.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What it waits for, as one that votes and has not had yet what the others have since its folder was opened: without it a majority is
    /// to be there that has. While it hears of no leader it is not known whether it lacks anything; that is waited for, but for a minute at
    /// most, unless a majority is there that it does not understand: these may write on.
    #[must_use]
    pub fn behind(&self) -> Option<&'static str> {
        self.0.group.behind()
    }
}

fn unfit(led: &Led) -> StoreError {
    StoreError::Away(format!("it was answered something else: {led:?}").into())
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
    // What was received has taken the place of the entries, and they are about to be purged.
    if last < applied && !machine.is_as_received()? {
        return behind(format!("records.db has what came of {applied} entries, and log.db ends with entry {last}"));
    }
    Ok(())
}

/// Starts Raft.
async fn raft(log: &Log, machine: &Machine, network: Network) -> Result<Raft<Types>, StoreError> {
    let config = Config {
        cluster_name: "tidepool".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        snapshot_policy: SnapshotPolicy::Never,
        // Not before it is known how it stands.
        enable_elect: false,
        // `purge` sees to that.
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: SENT_ENTRIES,
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|error| stopped(&error))?);
    Raft::new(log.disk(), config, network, log.clone(), machine.clone()).await.map_err(|error| stopped(&error))
}

/// Has it become one of its group. Where nobody else is named, and it has no others, returns when this voter leads, and has applied what was
/// committed before.
async fn start(group: &Group) -> Result<(), StoreError> {
    let own = group.network.own;
    let members = group.members().await?;
    let is_named_alone = group.founders.as_ref() == [group.own.node.clone()];
    let is_alone = match members.as_slice() {
        [] => is_named_alone,
        [(disk, _member)] => *disk == own,
        _more => false,
    };
    // It has got another name since. By this one it is refused, and leads nobody.
    if members.iter().any(|(disk, member)| *disk == own && *member != group.own) {
        tokio::spawn(join(group.clone()));
        return Ok(());
    }
    if is_alone && is_named_alone {
        join(group.clone()).await;
        return lead_alone(group).await;
    }
    let group = group.clone();
    tokio::spawn(async move {
        // What is said goes through who opens it.
        if is_alone {
            match since_alone(&group).await {
                Some(Since::Grown(other)) => return group.be_earlier(&other),
                Some(Since::Apart(standing)) => return drop(group.standing.send_replace(standing)),
                None => {}
            }
        }
        join(group).await;
    });
    Ok(())
}

async fn lead_alone(group: &Group) -> Result<(), StoreError> {
    group.raft.trigger().elect().await.map_err(|error| stopped(&error))?;
    let waits = group.raft.wait(Some(OPEN));
    waits.current_leader(group.network.own, "the only voter leads").await.map_err(|error| stopped(&error))?;
    group.raft.ensure_linearizable().await.map_err(|error| stopped(&error))?;
    group.lag.end();
    Ok(())
}

/// Has the log purged whenever it has grown by so many bytes, for as long as Raft goes on.
async fn purge(group: Group, grown: u64) {
    let (mut seen, mut has_grown) = (0, false);
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        // Up to where the state was when it was looked at last, which is a moment after it was to be.
        if has_grown && purge_but(&group, KEPT_BYTES).await.is_err() {
            return;
        }
        let bytes = group.log.bytes();
        has_grown = bytes.saturating_sub(seen) >= grown;
        if has_grown {
            seen = bytes;
            if group.raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}

/// Has the log purged of what the state has, but for the last entries, as many of them as have no more bytes than are `kept`; and but for
/// those that another voter is to get after a snapshot, while there is room for them. Up to where that is.
///
/// # Errors
/// When Raft has ended.
pub(super) async fn purge_but(group: &Group, kept: u64) -> Result<u64, Fatal<DiskId>> {
    // As long as the log can't be read it is purged of nothing.
    let Ok(before) = group.log.before_last(KEPT_ENTRIES, kept).await else { return Ok(0) };
    let (last, known) = {
        let metrics = group.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.last_log_index.unwrap_or(0), metrics.replication.clone())
    };
    let up_to = before.unwrap_or(last.saturating_sub(KEPT_ENTRIES));
    // What is kept for others is not to be in the way of what is written here.
    let up_to = if has_room_to_keep(&group.folder) {
        group.network.sends.purged(up_to, group.log.bytes(), known.as_ref())
    } else {
        up_to
    };
    if up_to > 0 {
        group.raft.trigger().purge_log(up_to).await?;
    }
    Ok(up_to)
}

/// Has others elect another for as long as the state of this voter waits for room, for as long as Raft goes on. Where it is the log that
/// waits, Raft stands still, and sends no heartbeats by itself; while the state alone does, it would go on leading, and nothing could be
/// proposed. One that is alone leads on.
async fn give_way(group: Group) {
    let mut waits = false;
    while group.raft.metrics().borrow().running_state.is_ok() {
        tokio::time::sleep(ROOM_EVERY).await;
        let waited = std::mem::replace(&mut waits, group.machine.is_full());
        let is_to_give_way = waited && waits && !group.is_alone();
        group.raft.runtime_config().heartbeat(!is_to_give_way && !group.holds());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.readers.close(StoreError::Stopped("their voter ended".into()));
        // It has ended, or could not: nothing more can be done for it.
        let ends = async { tokio::time::timeout(OPEN, self.group.raft.shutdown()).await };
        // What waits for room on a disk is dropped with the threads.
        let _ended = runtime.block_on(ends);
        self.group.machine.close();
        runtime.shutdown_timeout(OPEN);
    }
}
