//! Warm instances: an elastic pool for each function that is deployed with them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_queue::ArrayQueue;

use super::admission::Idle;
use super::live::Instance;
use super::owners::Owners;
use crate::os::per_thread::thread_number;

/// Threads that have a place of their own in a pool; those beyond share.
const PLACES: usize = 64;

/// Keeps up to `n` idle instances of one function version. A call that finds none makes a new one, and drops it if the pool is
/// full, so no call ever waits for the pool.
///
/// Each thread has a place of its own and looks there first: the instance that it gave back last is in its core's caches, and
/// no other thread writes there.
pub(crate) struct WarmPool {
    /// A place for each thread, as far as there are any.
    places: Vec<ArrayQueue<Instance>>,
    /// The rest of the room.
    shared: Option<ArrayQueue<Instance>>,
    closed: AtomicBool,
    /// How many of its engine's places each of its instances takes.
    weight: u32,
}

impl WarmPool {
    pub(crate) fn new(max_idle: usize, weight: u32) -> Self {
        let places = max_idle.min(PLACES);
        let rest = max_idle - places;
        WarmPool {
            places: (0..places).map(|_| ArrayQueue::new(1)).collect(),
            shared: (rest > 0).then(|| ArrayQueue::new(rest)),
            closed: AtomicBool::new(false),
            weight,
        }
    }

    /// An idle instance, when there is one.
    pub(crate) fn take(&self) -> Option<Instance> {
        self.queues().find_map(|queue| if queue.is_empty() { None } else { queue.pop() })
    }

    /// Keeps `instance` for the next call, or drops it when the pool is full.
    pub(crate) fn give_back(&self, instance: Instance) {
        let refused = self.queues().try_fold(instance, |instance, queue| match queue.push(instance) {
            Ok(()) => Err(()),
            Err(instance) => Ok(instance),
        });
        drop(refused);
        // Checked afterwards: either this thread sees the pool closed, or the one that closes it sees the instance.
        if self.closed.load(Ordering::SeqCst) {
            self.drain();
        }
    }

    /// Drops all idle instances, and those that are given back from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.drain();
    }

    pub(crate) fn idle(&self) -> usize {
        self.queues().map(ArrayQueue::len).sum()
    }

    /// The places of so many of its instances.
    fn weigh(&self, instances: usize) -> usize {
        instances.saturating_mul(usize::try_from(self.weight).unwrap_or(usize::MAX))
    }

    fn drain(&self) {
        while let Some(instance) = self.take() {
            drop(instance);
        }
    }

    /// This thread's place, then the shared ones, then the places of other threads.
    fn queues(&self) -> impl Iterator<Item = &ArrayQueue<Instance>> {
        let mine = thread_number().checked_rem(self.places.len()).unwrap_or(0);
        let (before, from_mine) = self.places.split_at_checked(mine).unwrap_or_default();
        let (own, after) = from_mine.split_at_checked(1).unwrap_or_default();
        own.iter().chain(&self.shared).chain(after).chain(before)
    }
}

/// All pools of an engine, or of a namespace, for calls that look for an idle instance to evict; and what else there is to ask for.
#[derive(Default)]
pub(crate) struct Pools {
    pools: Mutex<Vec<Weak<WarmPool>>>,
    next: AtomicUsize,
    pub(crate) owners: Owners,
}

impl Pools {
    pub(crate) fn register(&self, pool: &Arc<WarmPool>) {
        let mut pools = self.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Takes one idle instance, of another pool each time, and how many places it takes.
    fn take_any(&self) -> Option<(Instance, usize)> {
        let pools = self.live();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        (0..pools.len())
            .filter_map(|turn| pools.get(start.wrapping_add(turn) % pools.len()))
            .find_map(|pool| pool.take().map(|instance| (instance, pool.weigh(1))))
    }

    /// The places of idle instances of all pools.
    pub(crate) fn idle(&self) -> usize {
        self.live().iter().map(|pool| pool.weigh(pool.idle())).sum()
    }

    fn live(&self) -> Vec<Arc<WarmPool>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<WarmPool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for Pools {
    fn evict_now(&self) -> usize {
        self.take_any().map_or(0, |(instance, places)| {
            instance.drop_now();
            places
        })
    }

    fn evict(&self) -> usize {
        // Whoever owns one has a place at least.
        self.take_any().map_or_else(|| usize::from(self.owners.ask()), |(_instance, places)| places)
    }
}
