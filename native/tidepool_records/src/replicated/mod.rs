//! Records that nodes keep together on their own disks, by Raft: each voter has a log, and a file of SQLite's to which it applies the
//! log. A change is answered when a majority has it on disk, and it is applied.
//!
//! The protocol is that of Ongaro and Ousterhout ("In Search of an Understandable Consensus Algorithm", 2014), by the crate openraft.

mod answer;
mod claim;
mod command;
mod full;
mod group;
mod leases;
mod log;
mod machine;
mod members;
mod moving;
mod network;
mod propose;
mod rpc;
#[cfg(all(test, target_os = "linux"))]
#[path = "../../tests/simulation/mod.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
mod simulation;
mod snapshot;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
mod types;
mod voter;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

pub use self::group::Standing;
pub use self::members::{MemberChange, MemberState};
pub(crate) use self::moving::import;
pub use self::network::{Answering, Links};
use self::propose::{Counts, Proposer};
pub use self::voter::Voter;
use crate::lease::{Answer, Ask, Owner, Shard, Watch};
use crate::record::{Change, Done, Job, Key, QUEUE, Room, SHARDS, StoreError};
use crate::sqlite::Readers;

/// How long it may take until what is read is as all know it.
const READ: Duration = Duration::from_secs(5);
/// Threads that wait at a time for what the voter that leads has, which may be none; and how long others wait until they are told so.
const WAITING: usize = 4;
const TURN: Duration = Duration::from_millis(200);
const TURN_LEADERLESS: Duration = Duration::from_millis(20);

/// The records of a voter, as one node has them open. When it is dropped, what waits is written.
pub(crate) struct Replicated {
    room: Room,
    node: Arc<Node>,
    /// It is taken when this ends.
    open: Option<Open>,
}

/// What ends in this order.
struct Open {
    // Who writes ends when nothing more can come.
    jobs: mpsc::Sender<Job>,
    writer: JoinHandle<()>,
    // The last: its threads drive the others.
    voter: Voter,
}

impl Open {
    /// Returns when what waits has been written; and when this was the last who had the voter, its files are closed.
    fn close(self) {
        let Open { jobs, writer, voter } = self;
        drop(jobs);
        // What it was about to say has been said to who waited for it.
        let _ended = voter.0.handle.block_on(writer);
        drop(voter);
    }
}

/// One of the nodes that have leases.
struct Node {
    owner: Owner,
    proposer: Arc<Proposer>,
    readers: Arc<Readers>,
    /// Whether this start of the node has had a lease.
    known: AtomicBool,
    /// When the lease was asked for that it has, if it has not given it up.
    asked: Mutex<Option<Instant>>,
    /// The last entry of which it had been answered something when it asked for its lease last.
    heard: AtomicU64,
    watch: Mutex<Watch>,
    /// Of threads that wait for the voter that leads.
    turns: Semaphore,
}

impl Replicated {
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn open(voter: &Voter, owner: Owner) -> Result<Self, StoreError> {
        Self::opened(voter, owner, Some(Counts::new(Arc::clone(&voter.0.readers))))
    }

    /// The same for what is put back, which has the room that it had.
    fn open_to_fill(voter: &Voter, owner: Owner) -> Result<Self, StoreError> {
        Self::opened(voter, owner, None)
    }

    fn opened(voter: &Voter, owner: Owner, counts: Option<Counts>) -> Result<Self, StoreError> {
        let proposer = Arc::new(Proposer::new(voter.0.group.clone(), owner.clone(), counts)?);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = voter.0.handle.spawn(propose::write_all(Arc::clone(&proposer), queue));
        let node = Node {
            owner,
            proposer,
            readers: Arc::clone(&voter.0.readers),
            known: AtomicBool::new(false),
            asked: Mutex::default(),
            heard: AtomicU64::default(),
            watch: Mutex::default(),
            turns: Semaphore::new(WAITING),
        };
        let open = Open { jobs, writer, voter: voter.clone() };
        Ok(Replicated { room: Room::default(), node: Arc::new(node), open: Some(open) })
    }

    /// As [`Records::commit`](crate::Records::commit).
    pub(crate) fn commit(&self, key: Key, change: Change, done: Done) -> Result<(), StoreError> {
        use mpsc::error::TrySendError::{Closed, Full};
        let ended = || StoreError::Stopped("who writes ended".into());
        let open = self.open.as_ref().ok_or_else(ended)?;
        has_epoch(&key, &change)?;
        let done = self.room.take(&key, &change, done)?;
        open.jobs.try_send(Job { key, change, done }).map_err(|error| match error {
            Full(_) => StoreError::Overloaded,
            Closed(_) => ended(),
        })
    }

    /// Returns when what waits has been written; and when this was the last who had the voter, its files are closed.
    pub(crate) fn close(mut self) {
        if let Some(open) = self.open.take() {
            open.close();
        }
    }

    /// What this node's state has; with what is asked for, as all know it. Who owns a shard has all that was written to it, and so has
    /// who has a record that is never another. Others ask the voter that leads how far the log is to be applied first.
    ///
    /// # Errors
    /// [`StoreError::Away`] when it is not known within 5 s; and soon, while others wait for the voter that leads.
    pub(crate) fn readers(&self, of: Of<'_>) -> Result<&Readers, StoreError> {
        let open = self.open.as_ref().ok_or_else(|| StoreError::Stopped("who writes ended".into()))?;
        // A thread waits for it.
        let known = open.voter.0.handle.block_on(async { tokio::time::timeout(READ, self.node.in_turn(of)).await });
        let late =
            |_late| StoreError::Away(format!("it is not known within {} s what there is", READ.as_secs()).into());
        known.map_err(late)??;
        Ok(&self.node.readers)
    }

    /// What waits for being written.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.node.owner
    }

    /// As [`Records::lease`](crate::Records::lease).
    pub(crate) fn lease(
        &self,
        ask: Ask,
        within: Duration,
        done: impl FnOnce(Result<Answer, StoreError>) + Send + 'static,
    ) {
        let Some(open) = &self.open else { return done(Err(StoreError::Stopped("who writes ended".into()))) };
        let node = Arc::clone(&self.node);
        // Whoever closes what is open waits until the answer is told.
        let kept = open.jobs.clone();
        open.voter.0.handle.spawn(async move {
            let changes_nothing = ask == Ask::Shards;
            let late = |_late| {
                let why = format!("no majority has answered within {} ms", within.as_millis()).into();
                Err(if changes_nothing { StoreError::Away(why) } else { StoreError::Unknown(why) })
            };
            let end = tokio::time::Instant::now() + within;
            done(match node.may_ask(&ask, within).await {
                Ok(()) => tokio::time::timeout_at(end, node.answer(ask)).await.unwrap_or_else(late),
                // Nothing was proposed.
                Err(error) => Err(error),
            });
            drop(kept);
        });
    }
}

/// What is to be read.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// A record.
    Key(&'a Key),
    /// What is in the shards of this node.
    Own,
    /// Anything.
    All,
}

/// Is its epoch one that can be applied? What can't is not to be in the log, where it would be found again at each start.
fn has_epoch(key: &Key, change: &Change) -> Result<(), StoreError> {
    // None comes to more.
    let epoch = change.epoch();
    i64::try_from(epoch).map(drop).map_err(|_| StoreError::Fenced { key: key.clone(), epoch, stored: 0 })
}

impl Drop for Replicated {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // Nobody waits for what is written until then. Without a thread it is not written, and nobody is told that it is.
            let _closing = std::thread::Builder::new().name("tidepool-closing".into()).spawn(move || open.close());
        }
    }
}

impl Node {
    /// Returns when the state here has what it is to have for this to be read.
    async fn up_to_date(&self, of: Of<'_>) -> Result<(), StoreError> {
        if self.is_known(of).await? { Ok(()) } else { self.proposer.group().caught_up(READ).await }
    }

    /// The same for who holds a thread meanwhile, of which the process has few that read and write files.
    async fn in_turn(&self, of: Of<'_>) -> Result<(), StoreError> {
        // What is known needs no turn; who would wait even for that does.
        let at_once = tokio::select! {
            biased;
            known = self.is_known(of) => known?,
            () = std::future::ready(()) => false,
        };
        if at_once {
            return Ok(());
        }
        let busy = || StoreError::Away("others wait for the voter that leads, which has not answered them yet".into());
        let turn = if self.proposer.group().has_leader() { TURN } else { TURN_LEADERLESS };
        let turn = tokio::time::timeout(turn, self.turns.acquire()).await;
        let _turn = turn.map_err(|_late| busy())?.map_err(|_closed| busy())?;
        self.up_to_date(of).await
    }

    /// Is it in the state here as all know it, once that has what this node was answered?
    async fn is_known(&self, of: Of<'_>) -> Result<bool, StoreError> {
        self.proposer.settled(READ).await?;
        self.proposer.group().applied(self.proposer.answered(), READ).await?;
        match of {
            Of::Own => Ok(true),
            Of::All => Ok(false),
            Of::Key(key) if key.class.is_empty() => self.readers.reading(|state| is_there(state, key)),
            Of::Key(key) => self.readers.reading(|state| is_own(state, &self.owner, key)),
        }
    }
}

/// Is there a record of this name?
fn is_there(connection: &Connection, key: &Key) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM record WHERE shard = ? AND class = ? AND name = ?)";
    Ok(connection.prepare_cached(sql)?.query_row(params![key.shard(), key.class, key.name], |row| row.get(0))?)
}

/// Has the key's shard this owner?
fn is_own(connection: &Connection, owner: &Owner, key: &Key) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM owner WHERE shard = ? AND node = ? AND incarnation = ?)";
    let found = params![key.shard(), owner.node, owner.incarnation];
    Ok(connection.prepare_cached(sql)?.query_row(found, |row| row.get(0))?)
}

/// All shards. Those without a row never had an owner.
fn shards(connection: &Connection) -> Result<Vec<Shard>, StoreError> {
    let mut shards: Vec<Shard> = (0..SHARDS).map(|id| Shard { id, epoch: 0, owner: None }).collect();
    let mut select = connection.prepare_cached("SELECT shard, epoch, node FROM owner")?;
    let rows = select.query_map([], |row| Ok(Shard { id: row.get(0)?, epoch: row.get(1)?, owner: row.get(2)? }))?;
    for row in rows {
        let row = row?;
        if let Some(shard) = shards.get_mut(usize::from(row.id)) {
            *shard = row;
        }
    }
    Ok(shards)
}
