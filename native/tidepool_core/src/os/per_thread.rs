//! Data that each thread has one of, so that threads don't share a cache line.
//!
//! A counter that two cores write costs both of them more than the whole rest of a short call does. So what every call
//! writes exists several times: each thread has its own, and a reader adds them up. What only one thread writes can be
//! counted without atomic operations.

use std::fmt::{self, Debug, Formatter};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many there are at most. Threads beyond that share the last one.
const SHARDS: usize = 128;

/// Two lines, for processors fetch them in pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// A `T` for each thread that has asked for it, up to [`SHARDS`] of them. Every thread may use every one.
pub(crate) struct Sharded<T> {
    shards: Box<[OnceLock<Box<Padded<T>>>; SHARDS]>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

impl<T> Sharded<T> {
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Sharded { shards: Box::new(std::array::from_fn(|_| OnceLock::new())), make: Box::new(make) }
    }

    /// The calling thread's.
    pub(crate) fn mine(&self) -> &T {
        self.mine_alone().0
    }

    /// The calling thread's, and how it may count in it.
    pub(crate) fn mine_alone(&self) -> (&T, Count) {
        let number = thread_number();
        let last = SHARDS - 1;
        let count = if number < last { Count::Alone } else { Count::Shared };
        let [first, ..] = &*self.shards;
        let shard = self.shards.get(number.min(last)).unwrap_or(first);
        (&shard.get_or_init(|| Box::new(Padded((self.make)()))).0, count)
    }

    /// Those that there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().filter_map(OnceLock::get).map(|padded| &padded.0)
    }
}

impl<T: Default + 'static> Default for Sharded<T> {
    fn default() -> Self {
        Sharded::new(T::default)
    }
}

impl<T> Debug for Sharded<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").finish_non_exhaustive()
    }
}

/// Who writes a counter of a thread's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// This thread and no other.
    Alone,
    Shared,
}

impl Count {
    /// Adds to a counter that this thread got together with this.
    pub(crate) fn add(self, counter: &AtomicU64, more: u64) {
        match self {
            // An atomic read-modify-write takes as long as ten other instructions.
            Count::Alone => counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed),
            Count::Shared => {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

/// Threads are numbered as they come here first.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    MINE.with(|mine| *mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_of_what_more_threads_count_than_have_a_shard_of_their_own() {
        const THREADS: u64 = 2 * SHARDS as u64;
        const EACH: u64 = 10_000;
        let counters = Sharded::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let (counter, count) = counters.mine_alone();
                        count.add(counter, 1);
                    }
                });
            }
        });
        assert_eq!(counters.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>(), THREADS * EACH);
    }
}
