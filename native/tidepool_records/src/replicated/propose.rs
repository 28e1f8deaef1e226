//! Proposing: the changes that have piled up are one entry, and the next is proposed when that was applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;

use super::command::{Command, LeaseChange, Outcome, Ticket, What, mark_of_staged};
use super::full;
use super::group::{Group, Unanswered};
use super::rpc::{Lead, Led};
use super::types::packed;
use crate::lease::Owner;
use crate::record::{Batch, Change, Crowd, Done, FairQueue, Job, Key, StoreError, Total, begins};
use crate::sqlite::{Readers, has_room, may_replace, replaced};

/// What an entry has at most.
const ENTRY: Batch = Batch { changes: 256, bytes: 1 << 20, rows: 20_000, replaced: 16 << 20 };
/// Changes of more bytes are sent in parts of so many.
const PART_BYTES: usize = 2 << 20;
/// How long an entry may take.
const COMMIT: Duration = Duration::from_secs(10);
/// How long it may take until what was answered is in the state here, and is counted.
const COUNTED: Duration = Duration::from_secs(1);

/// Proposes what one node has records do.
pub(super) struct Proposer {
    group: Group,
    owner: Owner,
    /// By which it is known, and the numbers of its last commands of each kind.
    session: u64,
    commits: Mutex<u64>,
    leases: Mutex<u64>,
    /// The last entry of which something was answered: whatever is read is to have it.
    answered: AtomicU64,
    /// Whether changes are on their way of which nobody has said what has become of them.
    in_doubt: AtomicBool,
    /// Where it is counted how many records a shard has; not of what is put back from an archive.
    counts: Option<Counts>,
}

/// What records are counted by.
pub(super) struct Counts {
    readers: Arc<Readers>,
    total: Total,
}

impl Counts {
    pub(super) fn new(readers: Arc<Readers>) -> Self {
        Counts { readers, total: Total::default() }
    }
}

impl Proposer {
    /// # Errors
    /// When there is no randomness.
    pub(super) fn new(group: Group, owner: Owner, counts: Option<Counts>) -> Result<Self, StoreError> {
        let session = super::snapshot::fresh()?;
        Ok(Proposer {
            group,
            owner,
            session,
            commits: Mutex::default(),
            leases: Mutex::default(),
            answered: AtomicU64::default(),
            in_doubt: AtomicBool::default(),
            counts,
        })
    }

    /// What comes of changes, for each why it was refused, once they were applied.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Away`] and [`StoreError::Stopped`] when they were not proposed, [`StoreError::Unknown`] when
    /// they were, and nobody knows what has become of them.
    async fn commit(&self, what: What) -> Result<Outcome, StoreError> {
        let outcome = self.propose(&self.commits, what).await;
        match &outcome {
            Ok(_answered) => self.in_doubt.store(false, Ordering::Release),
            Err(StoreError::Unknown(_)) => self.in_doubt.store(true, Ordering::Release),
            Err(_not_proposed) => {}
        }
        outcome
    }

    /// What is proposed next, by what the state here says of what it replaces. Voters may have applied more of that, or less. While a large
    /// change of a namespace is proposed in parts, it is what there is beside.
    fn batch(&self, waiting: &mut FairQueue, beside: Option<&str>) -> Vec<Job> {
        // Most changes replace nothing, and the state has nothing to say of them.
        let most = if beside.is_some() { usize::MAX } else { ENTRY.changes };
        let replaces = waiting.first(most).any(|job| may_replace(&job.change));
        let mut batch = |replaced: &mut dyn FnMut(&Job) -> usize| match beside {
            Some(namespace) => waiting.batch_beside(namespace, ENTRY, replaced),
            None => waiting.batch(ENTRY, replaced),
        };
        let Some(Counts { readers, .. }) = self.counts.as_ref().filter(|_counts| replaces) else {
            return batch(&mut |_job: &Job| 0);
        };
        let known = readers.reading_at_once(|state| Ok(batch(&mut |job: &Job| replaced(state, &job.key, &job.change))));
        known.unwrap_or_else(|_nothing_was_read| batch(&mut |_job: &Job| 0))
    }

    /// Refuses changes that begin a record whose shard has no room for it. The others are returned.
    ///
    /// This is for who proposes them, who alone writes to the shard: were it for those who apply them, voters of different versions might
    /// make different states of one entry. Modules are written by every node, so by several at once they may come to some more.
    async fn with_room(&self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(Counts { readers, total }) = &self.counts else { return jobs };
        if !jobs.iter().any(|job| begins(&job.change)) {
            return jobs;
        }
        // One that takes longer counts what there is.
        let _counted = self.group.applied(self.answered(), COUNTED).await;
        let mut begun: BTreeMap<(u16, Crowd), u64> = BTreeMap::new();
        let refusals = readers.reading_at_once(|state| {
            Ok(jobs.iter().map(|job| room(state, job, &mut begun, total).err()).collect::<Vec<_>>())
        });
        // What can't be read here is for those to say who apply the changes.
        let Ok(refusals) = refusals else { return jobs };
        let mut left = Vec::with_capacity(jobs.len());
        for (job, refusal) in jobs.into_iter().zip(refusals) {
            match refusal {
                Some(crowded @ StoreError::Crowded { .. }) => (job.done)(Err(crowded)),
                _other => left.push(job),
            }
        }
        left
    }

    /// Has all voters keep changes in parts. What is returned makes them: nothing else does. Between two parts small changes of other
    /// namespaces are made.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Away`] and [`StoreError::Stopped`]: they never are made.
    async fn stage(&self, changes: Vec<(Key, Change)>, others: &mut Coming) -> Result<What, StoreError> {
        let bytes = packed(&changes)?;
        let namespace = changes.first().and_then(|(key, _change)| key.namespace()).unwrap_or_default().to_owned();
        drop(changes);
        let mut length = 0_u64;
        for part in bytes.chunks(PART_BYTES) {
            if length > 0 {
                self.write_beside(&namespace, others).await?;
            }
            match self.propose(&self.commits, What::Stage { at: length, bytes: part.to_vec() }).await {
                Ok(Outcome::Staged) => length = length.saturating_add(part.len() as u64),
                Ok(_of_another_command) => {
                    return Err(StoreError::Away("a part of a change was answered as another command".into()));
                }
                Err(StoreError::Unknown(why)) => return Err(StoreError::Away(why)),
                Err(error) => return Err(error),
            }
        }
        Ok(What::CommitStaged { length, mark: mark_of_staged(&bytes) })
    }

    /// Makes small changes of other namespaces than this one, of those that wait.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Away`] and [`StoreError::Stopped`] when they were not made, or nobody knows.
    async fn write_beside(&self, namespace: &str, others: &mut Coming) -> Result<(), StoreError> {
        others.take();
        let jobs = self.with_room(self.batch(&mut others.waiting, Some(namespace))).await;
        if jobs.is_empty() {
            return Ok(());
        }
        let (changes, done) = split(jobs);
        let outcome = self.commit(What::Commit(changes)).await;
        others.tell(done, outcome).map_err(|error| match error {
            StoreError::Unknown(why) => StoreError::Away(why),
            error => error,
        })
    }

    /// Returns when changes of which nobody has said what has become of them are made, or never will be: what is proposed now comes after
    /// them. It takes an entry, and for who reads it is no error that there is no room for one: there may be soon, or another voter leads.
    ///
    /// # Errors
    /// [`StoreError::Away`] when that is not known within this time; [`StoreError::Stopped`] and [`StoreError::NoVoter`] when it never will
    /// be.
    pub(super) async fn settled(&self, within: Duration) -> Result<(), StoreError> {
        if !self.in_doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        let proposed = async {
            loop {
                match self.commit(What::Commit(Vec::new())).await {
                    Err(StoreError::Full) => tokio::time::sleep(full::PAUSE).await,
                    outcome => return outcome,
                }
            }
        };
        let late = |_late| StoreError::Away("it is not known yet what has become of the last changes".into());
        match tokio::time::timeout(within, proposed).await.map_err(late)? {
            Ok(_outcome) => Ok(()),
            Err(StoreError::Unknown(why)) => Err(StoreError::Away(why)),
            Err(error) => Err(error),
        }
    }

    /// The same of leases and shards. The state of this voter has it then.
    ///
    /// # Errors
    /// The same, and what is refused.
    pub(super) async fn lease(&self, change: LeaseChange) -> Result<Outcome, StoreError> {
        let outcome = self.propose(&self.leases, What::Lease(change)).await?;
        // It is made, and what is here does not have it.
        let applied = self.group.applied(self.answered(), COMMIT).await;
        applied.map_err(|error| StoreError::Unknown(error.to_string().into()))?;
        match outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    async fn propose(&self, last: &Mutex<u64>, what: What) -> Result<Outcome, StoreError> {
        let mut last = last.lock().await;
        *last = last.saturating_add(1);
        let ticket = Ticket { session: self.session, number: *last };
        let command = Arc::new(Command { owner: self.owner.clone(), ticket, what });
        match self.group.ask_leader(&Lead::Propose(command), COMMIT).await {
            Ok(Led::Outcome { number, outcome }) => {
                self.answered.fetch_max(number, Ordering::AcqRel);
                Ok(outcome)
            }
            Ok(_of_another_question) => Err(StoreError::Unknown("it was answered something else".into())),
            Err(Unanswered { error, may_be: true }) => Err(StoreError::Unknown(error.to_string().into())),
            Err(Unanswered { error, may_be: false }) => Err(error),
        }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// The last entry of which this node was answered something.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }
}

/// Is there room for a record that a change begins, beside those that were begun before it?
fn room(
    state: &Connection,
    job: &Job,
    begun: &mut BTreeMap<(u16, Crowd), u64>,
    total: &Total,
) -> Result<(), StoreError> {
    let Some(begin) = job.change.record().filter(|_put| begins(&job.change)) else { return Ok(()) };
    let beside = begun.entry((job.key.shard(), Crowd::of(&job.key, &begin.head))).or_default();
    let is_new = has_room(state, &job.key, begin, *beside, total)?;
    *beside = beside.saturating_add(u64::from(is_new));
    Ok(())
}

/// Changes that wait, and those that are to come.
struct Coming {
    waiting: FairQueue,
    queue: Receiver<Job>,
}

impl Coming {
    /// Takes what has come by now.
    fn take(&mut self) {
        self.waiting.take(std::iter::from_fn(|| self.queue.try_recv().ok()));
    }

    /// Tells what has become of changes; when that is not known, or they were not made, what waits is given up.
    ///
    /// # Errors
    /// The same.
    fn tell(&mut self, done: Vec<Done>, outcome: Result<Outcome, StoreError>) -> Result<(), StoreError> {
        let mut outcomes = match outcome {
            Ok(Outcome::Committed(outcomes)) => Ok(outcomes.into_iter()),
            Ok(Outcome::Late) => Err(StoreError::Away("a part of it was given up: it was not made".into())),
            Ok(_of_another_command) => Err(StoreError::Unknown("it was answered as another command".into())),
            Err(error) => Err(error),
        };
        if let Err(error) = &outcomes {
            // Those that wait would wait as long again, each for those before it.
            for job in self.waiting.drain().chain(std::iter::from_fn(|| self.queue.try_recv().ok())) {
                (job.done)(Err(match error {
                    StoreError::Unknown(why) => StoreError::Away(Arc::clone(why)),
                    error => error.clone(),
                }));
            }
        }
        for done in done {
            done(match &mut outcomes {
                Ok(outcomes) => outcomes.next().flatten().map_or(Ok(()), |refusal| Err(refusal.into())),
                Err(error) => Err(error.clone()),
            });
        }
        outcomes.map(drop)
    }
}

/// Changes, and who is told what has become of each.
fn split(jobs: Vec<Job>) -> (Vec<(Key, Change)>, Vec<Done>) {
    jobs.into_iter().map(|job| ((job.key, job.change), job.done)).unzip()
}

/// Writes what comes, until nothing more can come.
pub(super) async fn write_all(proposer: Arc<Proposer>, queue: Receiver<Job>) {
    let mut coming = Coming { waiting: FairQueue::default(), queue };
    while coming.waiting.has_some(&mut coming.queue).await {
        let jobs = proposer.with_room(proposer.batch(&mut coming.waiting, None)).await;
        if jobs.is_empty() {
            continue;
        }
        let (changes, done) = split(jobs);
        let bytes: usize = changes.iter().map(|(_key, change)| change.written()).sum();
        let what =
            if bytes > PART_BYTES { proposer.stage(changes, &mut coming).await } else { Ok(What::Commit(changes)) };
        let outcome = match what {
            Ok(what) => proposer.commit(what).await,
            Err(error) => Err(error),
        };
        let _told = coming.tell(done, outcome);
    }
}
