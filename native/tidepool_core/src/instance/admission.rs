//! Admission: caps on instances, with a bounded, fair queue in front of each.
//!
//! There are two. A function's own cap is on its calls at a time; as each of them has one instance, and takes an idle one before
//! a new one is made, the function never has more instances. The engine's cap is on live instances, idle ones included. A call
//! passes its function's cap first: while it waits at the engine's it holds a place that only calls of its function could have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::error::CallError;
use crate::base::limits::Limits;
use crate::metrics::counters::FunctionStats;
use crate::store::host_channel::{HostChannel, Wait};

/// The right to one place, given back when dropped.
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

impl Gate {
    fn new(places: usize, max_queue: usize, wait: Wait) -> Self {
        Gate { permits: Arc::new(Semaphore::new(places)), places, queued: AtomicUsize::new(0), max_queue, wait }
    }

    fn try_pass(&self) -> Option<Permit> {
        // `try_acquire` never overtakes: while a call waits, no permit is free.
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// A place in the queue, when there is one.
    fn queue(&self) -> Option<Queued<'_>> {
        let one_more = |queued: usize| (queued < self.max_queue).then_some(queued.saturating_add(1));
        self.queued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok().map(|_| Queued(&self.queued))
    }

    async fn wait(&self, _place: Queued<'_>, channel: &HostChannel) -> Result<Permit, CallError> {
        channel.set_queued(Some(self.wait));
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        channel.set_queued(None);
        permit.map_err(|_| CallError::Internal { message: "the admission semaphore was closed".into() })
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
        if let Some(permit) = gate.try_pass() {
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
        gate.wait(place, channel).await
    }
}

/// Idle instances, which can be evicted.
pub(crate) trait Idle {
    /// Drops one on this thread, however large it is: its place is free when this returns. `false` when there is none.
    fn evict_now(&self) -> bool;

    /// Drops one, or asks the owner of one for it; its place may come free a moment later. `false` when there is none.
    fn evict(&self) -> bool;
}

/// No idle instances.
impl Idle for () {
    fn evict_now(&self) -> bool {
        false
    }

    fn evict(&self) -> bool {
        false
    }
}

/// The cap of an engine, of its trials, or of a namespace.
#[derive(Debug)]
pub(crate) struct Admission(Gate);

impl Admission {
    pub(crate) fn new(max_instances: usize, max_queue: usize, wait: Wait) -> Self {
        Admission(Gate::new(max_instances, max_queue, wait))
    }

    /// A permit for one live instance, if there is one that nobody has.
    pub(crate) fn try_admit(&self) -> Option<Permit> {
        self.0.try_pass()
    }

    /// Gets a permit for one live instance: at once, by evicting an idle warm one, or after a wait in the queue.
    ///
    /// A `nested` call waits for nothing but an instance that its owner was asked for: the calls around it may hold all others.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when the queue is full, or for a nested call when there is no room.
    pub(crate) async fn admit(
        &self,
        nested: bool,
        idle: &impl Idle,
        channel: &HostChannel,
    ) -> Result<Permit, CallError> {
        let gate = &self.0;
        if let Some(permit) = gate.try_pass() {
            return Ok(permit);
        }
        if nested {
            // On this thread: the drop thread would free the slot of a large one too late for a call that does not wait.
            while idle.evict_now() {
                if let Some(permit) = gate.try_pass() {
                    return Ok(permit);
                }
            }
            if !idle.evict() {
                return Err(self.overloaded(NEVER_WAITS));
            }
        }
        let Some(place) = gate.queue() else {
            // A call that can't wait can still evict an idle instance on this thread.
            if !idle.evict_now() {
                idle.evict();
            }
            return gate.try_pass().ok_or_else(|| self.overloaded(&gate.queue_is_full()));
        };
        // This call is counted as waiting before it looks for idle instances; a call that gives one back looks for waiting
        // calls afterwards. So one of the two sees the other.
        if !nested {
            idle.evict();
        }
        gate.wait(place, channel).await
    }

    fn overloaded(&self, why: &str) -> CallError {
        CallError::Overloaded { message: format!("all {} instances of this node are in use, and {why}", self.0.places) }
    }

    /// Live instances, idle ones in warm pools included.
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
