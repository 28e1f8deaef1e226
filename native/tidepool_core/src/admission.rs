//! Who may have an instance: a cap on live instances with a bounded, fair queue in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::CallError;
use crate::pool::Pools;
use crate::port::Port;

/// The right to one live instance, given back when dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

#[derive(Debug)]
pub(crate) struct Admission {
    // The semaphore is fair: permits go to waiters in the order in which they came.
    permits: Arc<Semaphore>,
    max_instances: usize,
    queued: AtomicUsize,
    max_queue: usize,
}

/// Counts a waiting call for as long as it waits, however the wait ends.
struct Queued<'a> {
    queued: &'a AtomicUsize,
    /// How many waited before it.
    before: usize,
}

impl<'a> Queued<'a> {
    fn new(queued: &'a AtomicUsize) -> Self {
        Queued { queued, before: queued.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Admission {
    pub(crate) fn new(max_instances: usize, max_queue: usize) -> Self {
        Admission {
            permits: Arc::new(Semaphore::new(max_instances)),
            max_instances,
            queued: AtomicUsize::new(0),
            max_queue,
        }
    }

    /// Gets a permit: at once, by evicting an idle warm instance, or after a wait in the queue.
    ///
    /// A `nested` call never waits: what it would wait for may be held by the calls around it.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when the queue is full, or for a nested call when there is no room.
    pub(crate) async fn admit(&self, nested: bool, pools: &Pools, port: &Port) -> Result<Permit, CallError> {
        if let Some(permit) = self.try_admit() {
            return Ok(permit);
        }
        if nested {
            // Here and now: the reaper would free the slot of a large one too late for a call that does not wait.
            while let Some(idle) = pools.take_any() {
                idle.drop_now();
                if let Some(permit) = self.try_admit() {
                    return Ok(permit);
                }
            }
            return Err(self.overloaded("a nested call does not wait for one"));
        }
        let queued = Queued::new(&self.queued);
        // Counted as waiting before it looks; whoever keeps an instance looks for waiting calls after that. So one of the
        // two sees the other.
        match pools.take_any() {
            Some(idle) => drop(idle),
            None if queued.before >= self.max_queue => {
                return Err(self.overloaded(&format!("{} calls wait already", self.max_queue)));
            }
            None => {}
        }
        port.set_queued(true);
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        port.set_queued(false);
        permit.map_err(|_| CallError::Internal { message: "the admission semaphore was closed".into() })
    }

    fn try_admit(&self) -> Option<Permit> {
        // `try_acquire` never overtakes waiters: while somebody waits, no permit is free.
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    fn overloaded(&self, why: &str) -> CallError {
        CallError::Overloaded {
            message: format!("all {} instances of this node are in use, and {why}", self.max_instances),
        }
    }

    /// Live instances, idle ones in warm pools included.
    pub(crate) fn live(&self) -> usize {
        self.max_instances.saturating_sub(self.permits.available_permits())
    }

    /// Calls that wait for an instance.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }
}
