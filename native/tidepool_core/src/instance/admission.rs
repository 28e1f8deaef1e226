//! Admission: caps on instances, with a bounded, fair queue in front of each.
//!
//! There are two. A function's own cap is on its calls at a time; as each of them has one instance, and takes an idle one before
//! a new one is made, the function never has more instances. The engine's cap is on live instances, idle ones included, and one that
//! has several times what a module may have of memories or tables counts as often. A call passes its function's cap first: while it
//! waits at the engine's it holds a place that only calls of its function could have.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::error::CallError;
use crate::base::limits::Limits;
use crate::metrics::counters::FunctionStats;
use crate::store::host_channel::{HostChannel, Wait};

/// The right to a place, or to several, given back when dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

/// The right to one live instance: of those of its engine, and of its namespace's, where these are bounded.
#[derive(Debug)]
pub(crate) struct Permits {
    pub(crate) _engine: Permit,
    pub(crate) _namespace: Option<Permit>,
}

/// A number of places, and the queue in front of them.
#[derive(Debug)]
struct Gate {
    // The semaphore is fair: first come, first served.
    permits: Arc<Semaphore>,
    places: usize,
    queued: AtomicUsize,
    max_queue: usize,
    wait: Wait,
}

/// Counts a waiting call for as long as it waits, however the wait ends.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn more(queued: &'a AtomicUsize) -> Self {
        queued.fetch_add(1, Ordering::SeqCst);
        Queued(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a call for as long as `turn` has it wait, if it does.
pub(crate) async fn counted<T>(turn: impl Future<Output = T>, waiting: &AtomicUsize) -> T {
    let mut turn = pin!(turn);
    match poll_fn(|context| Poll::Ready(turn.as_mut().poll(context))).await {
        Poll::Ready(done) => done,
        Poll::Pending => {
            let _waiting = Queued::more(waiting);
            turn.await
        }
    }
}

impl Gate {
    fn new(places: usize, max_queue: usize, wait: Wait) -> Self {
        Gate { permits: Arc::new(Semaphore::new(places)), places, queued: AtomicUsize::new(0), max_queue, wait }
    }

    fn try_pass(&self, places: u32) -> Option<Permit> {
        // `try_acquire` never overtakes: while a call waits, no permit is free.
        Arc::clone(&self.permits).try_acquire_many_owned(self.most(places)).ok()
    }

    /// What takes more places than there are has all of them.
    fn most(&self, places: u32) -> u32 {
        places.min(u32::try_from(self.places).unwrap_or(u32::MAX))
    }

    /// A place in the queue, when there is one.
    fn queue(&self) -> Option<Queued<'_>> {
        let one_more = |queued: usize| (queued < self.max_queue).then_some(queued.saturating_add(1));
        self.queued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok().map(|_| Queued(&self.queued))
    }

    /// Waits in line; `relieve` is done once it stands there, so that what comes free by that is its own.
    async fn wait(
        &self,
        places: u32,
        _place: Queued<'_>,
        channel: &HostChannel,
        relieve: impl FnOnce(),
    ) -> Result<Permit, CallError> {
        let mut turn = pin!(Arc::clone(&self.permits).acquire_many_owned(self.most(places)));
        let permit = match poll_fn(|context| Poll::Ready(turn.as_mut().poll(context))).await {
            Poll::Ready(permit) => permit,
            Poll::Pending => {
                relieve();
                channel.set_queued(Some(self.wait));
                let permit = turn.await;
                channel.set_queued(None);
                permit
            }
        };
        permit.map_err(|_| CallError::Internal { message: "the admission semaphore was closed".into() })
    }

    /// How many places are lacking to so many: one at least, for who has not found them.
    fn lacking(&self, places: u32) -> usize {
        let most = usize::try_from(self.most(places)).unwrap_or(usize::MAX);
        most.saturating_sub(self.permits.available_permits()).max(1)
    }

    fn queue_is_full(&self) -> String {
        format!("{} calls wait already", self.max_queue)
    }
}

const NEVER_WAITS: &str = "a nested call does not wait for one";

/// The cap of a function that has one.
#[derive(Debug)]
pub(crate) struct FunctionCap {
    gate: Gate,
    stats: Arc<FunctionStats>,
    waiting: Arc<AtomicUsize>,
}

impl FunctionCap {
    /// `stats` counts the calls that wait at this cap, `waiting` those at any function's.
    pub(crate) fn new(limits: &Limits, instances: usize, stats: Arc<FunctionStats>, waiting: Arc<AtomicUsize>) -> Self {
        FunctionCap { gate: Gate::new(instances, limits.queue, Wait::Node), stats, waiting }
    }

    /// Admits a call, at once or after a wait in the queue, until the permit is dropped.
    ///
    /// A `nested` call never waits: the calls around it may hold what it would wait for.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when the queue is full, or for a nested call when there is no place.
    pub(crate) async fn admit(&self, nested: bool, channel: &HostChannel) -> Result<Permit, CallError> {
        let gate = &self.gate;
        if let Some(permit) = gate.try_pass(1) {
            return Ok(permit);
        }
        let overloaded = |why: &str| CallError::Overloaded {
            message: format!("all {} instances that this function may have are in use, and {why}", gate.places),
        };
        if nested {
            return Err(overloaded(NEVER_WAITS));
        }
        let Some(place) = gate.queue() else { return Err(overloaded(&gate.queue_is_full())) };
        let _waiting = (Queued::more(&self.waiting), Queued::more(self.stats.queued_at_cap()));
        gate.wait(1, place, channel, || ()).await
    }
}

/// Idle instances, which can be evicted.
pub(crate) trait Idle {
    /// Drops one on this thread, however large it is: its places are free when this returns. How many those are; 0 when there is none.
    fn evict_now(&self) -> usize;

    /// Drops one, or asks the owner of one for it; its places may come free a moment later. How many those are at least; 0 when there is
    /// none.
    fn evict(&self) -> usize;
}

/// No idle instances.
impl Idle for () {
    fn evict_now(&self) -> usize {
        0
    }

    fn evict(&self) -> usize {
        0
    }
}

/// Evicts until so many places are free, or will be; `false` when they are too few.
fn make_room(mut lacking: usize, evict: impl Fn() -> usize) -> bool {
    while lacking > 0 {
        match evict() {
            0 => return false,
            freed => lacking = lacking.saturating_sub(freed),
        }
    }
    true
}

/// The cap of an engine, of its trials, or of a namespace.
#[derive(Debug)]
pub(crate) struct Admission(Gate);

impl Admission {
    pub(crate) fn new(max_instances: usize, max_queue: usize, wait: Wait) -> Self {
        Admission(Gate::new(max_instances, max_queue, wait))
    }

    /// A permit for one live instance that takes this many places, if nobody has them.
    pub(crate) fn try_admit(&self, places: u32) -> Option<Permit> {
        self.0.try_pass(places)
    }

    /// Gets a permit for one live instance that takes this many places: at once, by evicting idle warm ones, or after a wait in the
    /// queue.
    ///
    /// A `nested` call waits for nothing but an instance that its owner was asked for: the calls around it may hold all others.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when the queue is full, or for a nested call when there is no room.
    pub(crate) async fn admit(
        &self,
        places: u32,
        nested: bool,
        idle: &impl Idle,
        channel: &HostChannel,
    ) -> Result<Permit, CallError> {
        let gate = &self.0;
        if let Some(permit) = gate.try_pass(places) {
            return Ok(permit);
        }
        if nested {
            // On this thread: the drop thread would free the slot of a large one too late for a call that does not wait.
            while idle.evict_now() > 0 {
                if let Some(permit) = gate.try_pass(places) {
                    return Ok(permit);
                }
            }
            if !make_room(gate.lacking(places), || idle.evict()) {
                return Err(self.overloaded(places, NEVER_WAITS));
            }
        }
        let lacking = gate.lacking(places);
        let Some(place) = gate.queue() else {
            // A call that can't wait can still evict idle instances on this thread.
            if !make_room(lacking, || idle.evict_now()) {
                idle.evict();
            }
            return gate.try_pass(places).ok_or_else(|| self.overloaded(places, &gate.queue_is_full()));
        };
        // This call is counted as waiting before it looks for idle instances; a call that gives one back looks for waiting
        // calls afterwards. So one of the two sees the other.
        let relieve = || {
            if !nested {
                make_room(lacking, || idle.evict());
            }
        };
        gate.wait(places, place, channel, relieve).await
    }

    fn overloaded(&self, places: u32, why: &str) -> CallError {
        CallError::Overloaded { message: format!("{}, and {why}", self.shortage(places, "of this node")) }
    }

    /// Why there is no instance that takes so many places; `whose` the places are, as what follows that word.
    pub(crate) fn shortage(&self, places: u32, whose: &str) -> String {
        let all = self.0.places;
        match self.0.most(places) {
            1 => format!("all {all} instances {whose} are in use"),
            several => {
                format!("one instance of this counts as {several}, and fewer of the {all} instances {whose} are free")
            }
        }
    }

    /// The places of live instances, idle ones in warm pools included.
    pub(crate) fn live(&self) -> usize {
        self.0.places.saturating_sub(self.0.permits.available_permits())
    }

    /// Cap on live instances.
    pub(crate) fn max_instances(&self) -> usize {
        self.0.places
    }

    /// Calls that wait for an instance.
    pub(crate) fn queued(&self) -> usize {
        self.0.queued.load(Ordering::SeqCst)
    }
}
