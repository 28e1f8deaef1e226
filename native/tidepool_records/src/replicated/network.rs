//! The way to other voters.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{LogId, OptionalSend, Snapshot, Vote};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::claim::Claim;
use super::machine::Machine;
use super::members::lag::Lag;
use super::rpc::{Answered, Asked, Part, Question, Said};
use super::snapshot::{Sends, Transfer, aside};
use super::types::{DiskId, Member, Types, packed, unpacked};
use crate::record::{StoreError, finish, hasher};

/// How bytes get to the voter of another node, and what that answers.
pub trait Links: Send + Sync + 'static {
    /// Asks the voter of a node, which answers by [`Voter::answer`](super::Voter::answer). What was asked before may come later, and once at
    /// most: of one that comes twice the first may be done, and the second refused, which is answered. When the question or the answer is lost, that is to be an error as soon as it is known. Nobody waits for longer than `within`;
    /// dropping what is returned ends the wait.
    fn ask(&self, node: &str, question: Vec<u8>, within: Duration) -> Answering;
}

/// An answer on its way, or why there is none.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, Arc<str>>> + Send>>;

/// The links of a voter that is alone.
pub(super) struct Alone;

impl Links for Alone {
    fn ask(&self, _node: &str, _question: Vec<u8>, _within: Duration) -> Answering {
        Box::pin(std::future::ready(Err("a voter that is alone reaches no other".into())))
    }
}

/// Bytes of a part of a snapshot, and how long one may take.
const PART_BYTES: usize = 1 << 20;
pub(super) const PART: Duration = Duration::from_secs(10);
/// How long the last may take, which is when all of them are put in place.
const LAST_PART: Duration = Duration::from_secs(600);

/// For how long no part may be taken, how long it is waited meanwhile before one is sent again, and how often one of before may be wanted.
const VAIN: Duration = Duration::from_secs(60);
const AGAIN_PART: Duration = Duration::from_millis(200);
const BACK: u32 = 8;
/// How long after its answer one that is sent a snapshot is told so again, and how long that answer may take.
pub(super) const COMES: Duration = Duration::from_secs(2);
/// How long one that is there and could not be sent a snapshot is left alone.
const UNSENT: Duration = Duration::from_secs(1);

/// How long entries may take.
const ENTRIES: Duration = Duration::from_secs(120);
/// So many entries at a time are of before: who has all gets one, with all changes that have come meanwhile.
const BEHIND: usize = 8;
/// How long one that catches up is left alone at most, after what it was sent. Those who follow expect a heartbeat within 150 ms.
const PAUSE: Duration = Duration::from_millis(75);

/// How long one that could not be reached is left alone.
const AGAIN: Duration = Duration::from_millis(50);

/// The network of a voter.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) links: Arc<dyn Links>,
    pub(super) own: DiskId,
    pub(super) claim: Claim,
    /// It knows of which time disks are.
    pub(super) machine: Machine,
    /// It is told of those that are not understood.
    pub(super) lag: Arc<Lag>,
    pub(super) sends: Arc<Sends>,
}

/// The way to one other voter.
pub(super) struct Peer {
    network: Network,
    disk: DiskId,
    node: String,
    sending: Option<Sending>,
}

/// Entries on their way. openraft waits no longer than until the next heartbeat, and sends them again: what takes longer would never
/// end. So they go on, and who sends what comes after the same entry waits for them.
struct Sending {
    vote: Vote<DiskId>,
    after: Option<LogId<DiskId>>,
    last: LogId<DiskId>,
    answer: JoinHandle<Result<Said, Arc<str>>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Why(Arc<str>);

impl Network {
    /// Asks the voter of a node; `to` is the disk that it is to have.
    ///
    /// # Errors
    /// Why there is no answer within that time.
    pub(super) async fn ask(
        &self,
        node: &str,
        to: Option<DiskId>,
        question: Question,
        within: Duration,
    ) -> Result<Said, Arc<str>> {
        let asked = Asked {
            from: self.own,
            claim: self.claim,
            to,
            known: to.and_then(|disk| self.machine.known(disk)),
            question,
        };
        let asked = packed(&asked).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(within, self.links.ask(node, asked, within)).await;
        let late =
            |_late| format!("{node} has not answered within {} ms: see whether it stands still", within.as_millis());
        let bytes = answer.map_err(late)??;
        let Ok(Answered { from, claim, said }) = unpacked(&bytes) else { return Err(self.not_understood(node, to)) };
        if to == Some(from) && !self.machine.fits(from, &claim) {
            return Err(earlier(node).into());
        }
        match said {
            Said::Failed(why) => Err(why.into()),
            Said::NotUnderstood => Err(self.not_understood(node, to)),
            said => Ok(said),
        }
    }

    /// A newer voter or an older one is there.
    fn not_understood(&self, node: &str, disk: Option<DiskId>) -> Arc<str> {
        if let Some(disk) = disk {
            self.lag.heard_strange(disk);
        }
        other_version(node).into()
    }
}

impl Peer {
    async fn ask(&self, question: Question, within: Duration) -> Result<Said, Unreachable> {
        let answer = self.network.ask(&self.node, Some(self.disk), question, within).await;
        answer.map_err(|why| Unreachable::new(&Why(why)))
    }

    /// Sends entries, or goes on waiting for those that were sent. The last that was, and the answer.
    async fn send_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        last: LogId<DiskId>,
    ) -> Result<(LogId<DiskId>, Said), Unreachable> {
        let is_same = |sending: &Sending| {
            sending.vote == request.vote && sending.after == request.prev_log_id && sending.last <= last
        };
        let sending = match self.sending.take().filter(is_same) {
            Some(sending) => sending,
            None => {
                let (vote, after) = (request.vote, request.prev_log_id);
                let (network, node, disk) = (self.network.clone(), self.node.clone(), self.disk);
                let answer = tokio::spawn(async move {
                    let (began, is_behind) = (Instant::now(), request.entries.len() >= BEHIND);
                    let answer = network.ask(&node, Some(disk), Question::Append(request), ENTRIES).await;
                    // One that takes none is left alone anyway.
                    if is_behind && answer.is_ok() {
                        breathe(began).await;
                    }
                    answer
                });
                Sending { vote, after, last, answer }
            }
        };
        let sending = self.sending.insert(sending);
        let answer = (&mut sending.answer).await.map_err(|error| Unreachable::new(&error));
        let last = sending.last;
        self.sending = None;
        answer?.map(|said| (last, said)).map_err(|why| Unreachable::new(&Why(why)))
    }

    /// Sends a snapshot in parts. Where that fails, returns once the other takes one: openraft has the next one made at once, and that
    /// flushes the state, and reads it.
    async fn send(
        &self,
        vote: Vote<DiskId>,
        snapshot: Snapshot<Types>,
    ) -> Result<SnapshotResponse<DiskId>, StreamingError<Types, Fatal<DiskId>>> {
        let transfer = self.network.sends.begin(self.disk, snapshot.meta.last_log_id.map_or(0, |id| id.index));
        let why = match self.try_send(vote, snapshot, &transfer).await {
            Ok(answer) => {
                // Where that is a higher vote, another leads, and sees to it.
                if answer.vote == vote {
                    transfer.done();
                }
                return Ok(answer);
            }
            Err(why) => why,
        };
        transfer.fails(Arc::clone(&why));
        // No entries are kept for it meanwhile.
        drop(transfer);
        loop {
            match self.comes(vote).await {
                Ok(None) => break,
                Ok(Some(higher)) => return Ok(higher),
                // One that has just started is told so before it asks for votes.
                Err(_away) => sleep(AGAIN).await,
            }
        }
        sleep(UNSENT).await;
        Err(Unreachable::new(&Why(why)).into())
    }

    async fn try_send(
        &self,
        vote: Vote<DiskId>,
        snapshot: Snapshot<Types>,
        transfer: &Transfer,
    ) -> Result<SnapshotResponse<DiskId>, Arc<str>> {
        // It is copied for one that is there.
        if let Some(higher) = self.comes(vote).await? {
            return Ok(higher);
        }
        tokio::select! {
            sent = self.send_parts(vote, snapshot, transfer) => sent,
            higher = self.until_higher(vote) => Ok(higher),
        }
    }

    /// Tells it that a snapshot comes: it hears no heartbeats by the clock until all of it is there, and is to ask for no votes. What it says
    /// if it has asked, or has heard of another that leads.
    async fn comes(&self, vote: Vote<DiskId>) -> Result<Option<SnapshotResponse<DiskId>>, Arc<str>> {
        match self.network.ask(&self.node, Some(self.disk), Question::Comes(vote), COMES).await? {
            Said::Taken => Ok(None),
            Said::Snapshot(higher) => Ok(Some(higher)),
            _other => Err(unfit().0),
        }
    }

    /// Tells it again and again, as it may take long until the next part is there.
    async fn until_higher(&self, vote: Vote<DiskId>) -> SnapshotResponse<DiskId> {
        loop {
            sleep(COMES).await;
            if let Ok(Some(higher)) = self.comes(vote).await {
                return higher;
            }
        }
    }

    async fn send_parts(
        &self,
        vote: Vote<DiskId>,
        snapshot: Snapshot<Types>,
        transfer: &Transfer,
    ) -> Result<SnapshotResponse<DiskId>, Arc<str>> {
        let (node, unreadable) = (&self.node, |why: StoreError| -> Arc<str> { why.to_string().into() });
        let Snapshot { meta, snapshot } = snapshot;
        let one = Arc::clone(&self.network.sends.copying).lock_owned().await;
        let copied = move || {
            // Who waits for it may be gone before it is there.
            let _one = one;
            snapshot.parts(PART_BYTES)
        };
        let parts = aside(copied).await;
        let mut parts = parts.map_err(|error| error.to_string())??;
        let (mut at, mut digest, mut back, mut taken) = (0_u64, hasher("snapshot"), 0_u32, Instant::now());
        loop {
            let (bytes, is_last) = parts.read().map_err(unreadable)?;
            let mut with = digest.clone();
            with.update(&bytes);
            let next = at.saturating_add(bytes.len() as u64);
            let whole = is_last.then(|| finish(&with));
            let part = Part { vote, meta: meta.clone(), at, bytes, length: parts.length(), whole };
            let (began, within) = (Instant::now(), if is_last { LAST_PART } else { PART });
            match self.network.ask(node, Some(self.disk), Question::Part(part), within).await {
                Ok(Said::Snapshot(answer)) => return Ok(answer),
                Ok(Said::Taken) if !is_last => {
                    (at, digest, taken) = (next, with, Instant::now());
                    transfer.took(at);
                    breathe(began).await;
                }
                Ok(Said::Wanted(from)) if from < next && back < BACK => {
                    (at, back) = (from, back.saturating_add(1));
                    let went = aside(move || parts.go_back(from)).await.map_err(|error| error.to_string())?;
                    (parts, digest) = went.map_err(unreadable)?;
                }
                Ok(_other) => return Err(unfit().0),
                // Whether all of it is in place is not known.
                Err(why) if is_last || taken.elapsed() > VAIN => return Err(why),
                Err(why) => {
                    transfer.fails(why);
                    parts.go_to(at).map_err(unreadable)?;
                    sleep(AGAIN_PART).await;
                }
            }
        }
    }
}

/// Waits for as long again as what has begun then has taken: whoever catches up has half of the time of disks and processors, and others
/// the other half.
async fn breathe(began: Instant) {
    sleep(began.elapsed().min(PAUSE)).await;
}

/// Why a node whose folder is of an earlier time answers nothing that counts.
pub(super) fn earlier(node: &str) -> String {
    format!(
        "the folder of the records of {node} is of an earlier time than it was. Put the later one back; or if it is lost, start {node} with an \
         empty one, and have it replaced as a member"
    )
}

pub(super) fn other_version(node: &str) -> String {
    format!("{node} is of another version, which can't be understood: have all nodes of one release")
}

fn unfit() -> Why {
    Why("it was answered something else".into())
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, disk: DiskId, member: &Member) -> Peer {
        Peer { network: self.clone(), disk, node: member.node.clone(), sending: None }
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<DiskId>, RPCError<DiskId, Member, RaftError<DiskId>>> {
        let Some(last) = request.entries.last().map(|entry| entry.log_id) else {
            return match self.ask(Question::Append(request), option.hard_ttl()).await? {
                Said::Append(answer) => Ok(answer),
                _other => Err(NetworkError::new(&unfit()).into()),
            };
        };
        match self.send_entries(request, last).await? {
            // What came after these was not sent.
            (sent, Said::Append(AppendEntriesResponse::Success)) if sent < last => {
                Ok(AppendEntriesResponse::PartialSuccess(Some(sent)))
            }
            (_sent, Said::Append(answer)) => Ok(answer),
            _other => Err(NetworkError::new(&unfit()).into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<DiskId>,
        option: RPCOption,
    ) -> Result<VoteResponse<DiskId>, RPCError<DiskId, Member, RaftError<DiskId>>> {
        match self.ask(Question::Vote(request), option.hard_ttl()).await? {
            Said::Vote(answer) => Ok(answer),
            _other => Err(NetworkError::new(&unfit()).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<DiskId>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<DiskId>, StreamingError<Types, Fatal<DiskId>>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send(vote, snapshot) => sent,
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(AGAIN))
    }
}
