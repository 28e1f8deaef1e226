//! Warm instances: an elastic pool for each function that wants one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::instance::Instance;

/// Keeps up to `n` idle instances of one function version. Takers beyond that make new ones, givers beyond it drop
/// theirs, so nobody ever waits for the pool.
pub(crate) struct Pool {
    giver: Sender<Instance>,
    taker: Receiver<Instance>,
    closed: AtomicBool,
}

impl Pool {
    pub(crate) fn new(max_idle: usize) -> Self {
        let (giver, taker) = bounded(max_idle);
        Pool { giver, taker, closed: AtomicBool::new(false) }
    }

    /// An idle instance, when there is one.
    pub(crate) fn take(&self) -> Option<Instance> {
        self.taker.try_recv().ok()
    }

    /// Keeps `instance` for the next call, or drops it when the pool is full.
    pub(crate) fn give_back(&self, instance: Instance) {
        drop(self.giver.try_send(instance));
        // Looked at afterwards: either this sees the pool closed, or whoever closes it sees the instance.
        if self.closed.load(Ordering::SeqCst) {
            self.drain();
        }
    }

    /// Drops all idle instances, and those that are given back from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.drain();
    }

    fn drain(&self) {
        while let Ok(instance) = self.taker.try_recv() {
            drop(instance);
        }
    }

    pub(crate) fn idle(&self) -> usize {
        self.taker.len()
    }
}

/// All pools of a runtime, for those who look for an idle instance to evict.
#[derive(Default)]
pub(crate) struct Pools {
    pools: Mutex<Vec<Weak<Pool>>>,
    next: AtomicUsize,
}

impl Pools {
    pub(crate) fn register(&self, pool: &Arc<Pool>) {
        let mut pools = self.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Takes one idle instance, of another pool each time.
    pub(crate) fn take_any(&self) -> Option<Instance> {
        let pools = self.live();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..pools.len())
            .filter_map(|turn| pools.get(start.wrapping_add(turn) % pools.len()))
            .find_map(|pool| pool.take())
    }

    /// Idle instances of all pools.
    pub(crate) fn idle(&self) -> usize {
        self.live().iter().map(|pool| pool.idle()).sum()
    }

    fn live(&self) -> Vec<Arc<Pool>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
