//! What a voter has of its group: Raft, its disk, and the way to others; and the voter that leads, whichever that is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::error::RaftError;
use openraft::{LogId, Membership, Raft, ServerState};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::log::Log;
use super::machine::Machine;
use super::members::lag::Lag;
use super::network::Network;
use super::rpc::{Lead, Led, Question, Said};
use super::snapshot::{Receiving, aside};
use super::types::{DiskId, Member, Types};
use crate::record::StoreError;

/// How long it waits before it asks again who can't answer.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a voter that leads waits for what becomes of an entry.
const LED: Duration = Duration::from_secs(30);
/// How long a voter waits for one that leads.
const LEADERLESS: Duration = Duration::from_secs(30);
/// How long a voter that was told so takes a snapshot to be on its way. It is told so by each part; and beside that two seconds after its
/// answer to the last time, or four where that is lost.
pub(super) const TAKING: Duration = Duration::from_secs(12);
/// What to do where no majority will be there again.
pub(super) const LOST: &str = "If a majority has lost its folders for good, export the records from a voter that is left, stop \
                              all, and import that";

/// Whether a voter is one of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet: what it waits for.
    Waiting(Arc<str>),
    /// It is.
    Member,
    /// It is none, for it was not added yet, or was removed; it may be added: which of these.
    Outside(Arc<str>),
    /// It is not, and will not be: what to do.
    Refused(Arc<str>),
    /// It is, and waits for room on its disk.
    Full,
    /// It was, and writes nothing any more: why. Opened again it may go on.
    Stopped(Arc<str>),
}

/// How much is answered at once: to voters about the log, and to nodes by the one that leads.
pub(super) struct Turns {
    pub(super) own: Semaphore,
    pub(super) led: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { own: Semaphore::new(32), led: Semaphore::new(1_024) }
    }
}

/// What a voter has of its group. Its clones are the same.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) raft: Raft<Types>,
    pub(super) log: Log,
    pub(super) machine: Machine,
    pub(super) network: Network,
    pub(super) own: Member,
    /// The nodes that the group begins with, as this one was told, in order.
    pub(super) founders: Arc<[String]>,
    pub(super) folder: PathBuf,
    pub(super) standing: Arc<watch::Sender<Standing>>,
    /// Whether it has had what the others have.
    pub(super) lag: Arc<Lag>,
    pub(super) turns: Arc<Turns>,
    /// Whether another has heard of a later time of this disk.
    pub(super) is_earlier: Arc<AtomicBool>,
    /// Whether it proposes nothing, so that another leads.
    pub(super) holds: Arc<AtomicBool>,
    /// Held by who changes the members.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    /// The snapshot that is being received.
    pub(super) receiving: Arc<Mutex<Option<Receiving>>>,
    /// When it was told last that one comes, for as long as it asks for no votes.
    pub(super) taking: Arc<Mutex<Option<Instant>>>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leader {
    This,
    Other(DiskId, String),
}

/// Why the leader has answered nothing.
pub(super) struct Unanswered {
    pub(super) error: StoreError,
    /// May an entry say by now what was proposed, or later?
    pub(super) may_be: bool,
}

impl Group {
    /// Does it lead?
    pub(super) fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// Does this voter know of one that leads?
    pub(super) fn has_leader(&self) -> bool {
        self.raft.metrics().borrow().current_leader.is_some()
    }

    /// Is it the only one that votes, so that no other can lead?
    pub(super) fn is_alone(&self) -> bool {
        self.raft.metrics().borrow().membership_config.membership().voter_ids().count() == 1
    }

    /// It is sent a snapshot. Until all of it is there openraft sends heartbeats with commits and reads, and none by the clock. Who hears of
    /// no leader asks for votes: the one that leads would lose its lead at the end, and the next one begin anew. Another that hears of none
    /// goes on asking.
    pub(super) fn takes(&self) {
        *self.taking() = Some(Instant::now());
        self.raft.runtime_config().elect(false);
    }

    /// May it ask for votes, as it stands? One that is no member does not: going on with that would be in the way when it is added again.
    pub(super) fn elects(&self, standing: &Standing) {
        self.raft.runtime_config().elect(*standing == Standing::Member && self.taking().is_none());
    }

    /// Has it ask for votes again, if it stands so, once it was not told for long that a snapshot comes; what it has of one goes.
    pub(super) async fn elects_again(&self) {
        let is_over = self.taking().take_if(|last| last.elapsed() > TAKING).is_some();
        if is_over {
            self.elects(&self.standing.borrow());
            let receiving = Arc::clone(&self.receiving);
            let _gone = aside(move || *receiving.lock().unwrap_or_else(PoisonError::into_inner) = None).await;
        }
    }

    fn taking(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing that can panic runs under the lock.
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something wait for room on its disk?
    pub(super) fn is_full(&self) -> bool {
        self.log.is_full() || self.machine.is_full()
    }

    /// Does it propose nothing, so that another leads?
    pub(super) fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// Has it propose nothing more, and send no heartbeats; or go on.
    pub(super) fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
        self.raft.runtime_config().heartbeat(!holds);
    }

    /// What it waits for, as a voter that has not had yet what the others have since its folder was opened.
    pub(super) fn behind(&self) -> Option<&'static str> {
        let (voters, leads, is_led) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let voters: BTreeSet<_> = metrics.membership_config.membership().voter_ids().collect();
            (voters, metrics.state == ServerState::Leader, metrics.current_leader.is_some())
        };
        if leads {
            self.lag.end();
        }
        if !voters.contains(&self.network.own) || self.lag.is_over(is_led, &voters) {
            return None;
        }
        Some(if is_led {
            "it gets what it lacks"
        } else if self.lag.is_strange(&voters) {
            "a majority is of another version"
        } else {
            "it has heard of no voter that leads"
        })
    }

    /// What is wrong with this voter, and what to do. Where it keeps what is for its own log to say.
    pub(super) fn problem(&self) -> Option<String> {
        let why = match self.goes_on() {
            Ok(()) if self.is_full() => "there is no room on its disk: make some, and it goes on by itself".into(),
            Ok(()) => return None,
            Err(StoreError::Stopped(why)) => match self.remedy(&why) {
                Some(remedy) => format!("what it keeps is damaged, as its log says: {remedy}"),
                None => {
                    "its disk has failed, as its log says: see to that, and it opens its folder again by itself".into()
                }
            },
            Err(error) => error.to_string(),
        };
        Some(why)
    }

    /// What to do where it is damage that Raft has ended for: opened again it finds the same. Raft keeps no more of an error than its words.
    pub(super) fn remedy(&self, why: &str) -> Option<&'static str> {
        let remedy = if self.is_alone() {
            "stop it, move its folder away, and import a backup"
        } else {
            "stop it, move its folder away, start it with an empty one, and have it replaced as a member"
        };
        why.contains("damaged").then_some(remedy)
    }

    /// Has another heard of a later time of this disk?
    pub(super) fn is_earlier(&self) -> bool {
        self.is_earlier.load(Ordering::Acquire)
    }

    /// Another has heard of a later time of this disk: it takes nothing and gives nothing any more, until it is opened anew.
    pub(super) fn be_earlier(&self, than: &str) {
        self.is_earlier.store(true, Ordering::Release);
        self.raft.runtime_config().elect(false);
        self.standing.send_replace(Standing::Refused(earlier(&self.own.node, than)));
    }

    /// Does as the voter that leads, if this one does.
    pub(super) async fn lead(&self, asked: &Lead) -> Led {
        if !self.leads() || self.holds() {
            return Led::NotLeader;
        }
        match asked {
            Lead::Propose(_) if self.is_full() => Led::Full,
            // It is to lead no more (`give_way`), and asking those who follow would keep them from electing another.
            Lead::Index if self.machine.is_full() && !self.is_alone() => Led::NotLeader,
            // Of what a snapshot has come in between with nobody is told what has become of it.
            Lead::Propose(command) => match timeout(LED, self.raft.client_write(Arc::clone(command))).await {
                Ok(Ok(response)) => Led::Outcome { number: response.log_id.index, outcome: response.data },
                // One that leads no more says so of what it has proposed as well as of what it has not.
                Ok(Err(error)) => Led::Lost(error.to_string()),
                Err(_late) => Led::Lost(format!("no majority has it after {} s", LED.as_secs())),
            },
            Lead::Index => match self.raft.get_read_log_id().await {
                Ok((id, _applied)) => Led::Index(id.map_or(0, |id| id.index)),
                Err(error) => Led::Lost(error.to_string()),
            },
            Lead::Members => self.member_states().await,
            Lead::Change(change) => self.change_members(change).await,
        }
    }

    /// Asks whichever voter leads, and when that leads no more, the next one. A command has a number, so it is applied once however often
    /// it is proposed.
    ///
    /// # Errors
    /// Why nobody has answered within that time.
    pub(super) async fn ask_leader(&self, asked: &Lead, within: Duration) -> Result<Led, Unanswered> {
        let last = Instant::now() + within;
        let mut led = Instant::now();
        let mut leaders = self.raft.server_metrics();
        let mut why: Option<Arc<str>> = None;
        let mut may_be = false;
        loop {
            self.goes_on().map_err(|error| Unanswered { error, may_be })?;
            let leader = self.leader(&leaders.borrow_and_update());
            // A change of the members may take long, but not while none leads.
            let end = if leader.is_some() { last } else { last.min(led + LEADERLESS) };
            let changed = async {
                // Who has ended is noticed above.
                while leaders.changed().await.is_ok() && self.leader(&leaders.borrow_and_update()) == leader {}
            };
            let answer = tokio::select! {
                answer = self.asked(leader.as_ref(), asked, end.duration_since(Instant::now())) => Some(answer),
                () = changed => None,
                () = sleep_until(end) => None,
            };
            if leader.is_some() {
                led = Instant::now();
            }
            match answer {
                Some(Ok(Led::NotLeader)) => {}
                Some(Ok(Led::Full)) if !may_be => return Err(Unanswered { error: StoreError::Full, may_be }),
                Some(Ok(Led::Full)) => {}
                Some(Ok(Led::Lost(lost))) => (may_be, why) = (true, Some(lost.into())),
                Some(Ok(led)) => return Ok(led),
                Some(Err(lost)) => (may_be, why) = (true, Some(lost)),
                None => may_be |= leader.is_some(),
            }
            if Instant::now() + PAUSE >= end {
                let why = why.unwrap_or_else(|| self.why_none(asked, leader.as_ref(), within));
                return Err(Unanswered { error: StoreError::Away(why), may_be });
            }
            sleep(PAUSE).await;
        }
    }

    async fn asked(&self, leader: Option<&Leader>, asked: &Lead, within: Duration) -> Result<Led, Arc<str>> {
        let (disk, node) = match leader {
            None => return std::future::pending().await,
            Some(Leader::This) => return Ok(self.lead(asked).await),
            Some(Leader::Other(disk, node)) => (*disk, node),
        };
        match self.network.ask(node, Some(disk), Question::Lead(asked.clone()), within).await? {
            Said::Led(led) => Ok(led),
            // It has proposed nothing.
            Said::NoMember => Ok(Led::NotLeader),
            _other => Err(format!("{node} has answered something else").into()),
        }
    }

    fn leader(&self, metrics: &openraft::metrics::RaftServerMetrics<DiskId, Member>) -> Option<Leader> {
        let leads = metrics.current_leader?;
        if leads == self.network.own {
            return Some(Leader::This);
        }
        let member = metrics.membership_config.membership().get_node(&leads)?;
        Some(Leader::Other(leads, member.node.clone()))
    }

    /// Does Raft go on?
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when it has ended, [`StoreError::NoVoter`] when this one is none of the group's.
    pub(super) fn goes_on(&self) -> Result<(), StoreError> {
        if let Err(error) = &self.raft.metrics().borrow().running_state {
            return Err(StoreError::Stopped(error.to_string().into()));
        }
        match &*self.standing.borrow() {
            Standing::Outside(why) | Standing::Refused(why) => Err(StoreError::NoVoter(Arc::clone(why))),
            _may_be => Ok(()),
        }
    }

    fn why_none(&self, asked: &Lead, leader: Option<&Leader>, within: Duration) -> Arc<str> {
        match (&*self.standing.borrow(), leader) {
            (Standing::Waiting(why), _) => Arc::clone(why),
            // For whoever looks what to do.
            (_, None) if matches!(asked, Lead::Members | Lead::Change(_)) => {
                format!("no voter leads at the moment: start those that are away. {LOST}").into()
            }
            (_, None) => "no voter leads at the moment".into(),
            (_, Some(_)) => format!("no majority has answered within {} ms", within.as_millis()).into(),
        }
    }

    /// Returns when the state has all that is answered by now, by whomever.
    ///
    /// # Errors
    /// [`StoreError::Away`] when that is not known within this time, [`StoreError::Stopped`] when it never will be.
    pub(super) async fn caught_up(&self, within: Duration) -> Result<(), StoreError> {
        let end = Instant::now() + within;
        match self.ask_leader(&Lead::Index, within).await {
            Ok(Led::Index(number)) => self.applied(number, end.duration_since(Instant::now())).await,
            Ok(_of_another_question) => Err(StoreError::Away("it was answered something else".into())),
            Err(Unanswered { error, .. }) => Err(error),
        }
    }

    /// Returns when an entry was applied to the state of this voter.
    ///
    /// # Errors
    /// As for [`Group::caught_up`].
    pub(super) async fn applied(&self, number: u64, within: Duration) -> Result<(), StoreError> {
        let late = || StoreError::Away(format!("the node's own disk is behind: it lacks entry {number}").into());
        match tokio::time::timeout(within, self.machine.applied(number)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_ended)) => self.goes_on().and_then(|()| Err(StoreError::Stopped("the state is closed".into()))),
            Err(_late) => self.goes_on().and_then(|()| Err(late())),
        }
    }

    /// The members that Raft knows of here, in its log or in the state.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when it has ended.
    pub(super) async fn members(&self) -> Result<Vec<(DiskId, Member)>, StoreError> {
        let (_by, membership) = self.membership().await?;
        Ok(membership.nodes().map(|(disk, member)| (*disk, member.clone())).collect())
    }

    /// Who votes and who does not, and by which entry of the log. Raft is asked: what it last told may be of before.
    ///
    /// # Errors
    /// As for [`Group::members`].
    pub(super) async fn membership(&self) -> Result<(Option<LogId<DiskId>>, Membership<DiskId, Member>), StoreError> {
        let membership = self.raft.with_raft_state(|state| {
            let effective = state.membership_state.effective();
            (*effective.log_id(), effective.membership().clone())
        });
        membership.await.map_err(|error| stopped(&error))
    }

    /// The member with a disk, as Raft last told: it is not asked, as it may stand still.
    pub(super) fn member(&self, disk: DiskId) -> Option<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_node(&disk).cloned()
    }
}

/// Is it of the request alone, and not the end of Raft?
pub(super) fn said<T, E: std::error::Error>(
    answer: Result<T, RaftError<DiskId, E>>,
    said: impl FnOnce(T) -> Said,
) -> Said {
    answer.map_or_else(|error| Said::Failed(error.to_string()), said)
}

pub(super) fn stopped(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Stopped(error.to_string().into())
}

fn earlier(own: &str, other: &str) -> Arc<str> {
    format!(
        "the folder is of an earlier time than {other} has heard of, and lacks what was answered since. If the later one is there, put it \
         back; if it is lost, start {own} with an empty one, and have it replaced as a member"
    )
    .into()
}
