//! Data that each thread has one of, so that threads don't share a cache line.
//!
//! A counter that two cores write costs both of them more than the whole rest of a short call does. So what every call
//! writes exists several times: each thread has its own, or shares it with few, and a reader adds them up.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are; threads beyond that share.
pub(crate) const SHARDS: usize = 16;

/// Two lines, for processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Padded<T>(T);

/// A `T` for each thread, up to [`SHARDS`] of them. Every thread may use every one.
#[derive(Debug, Default)]
pub(crate) struct Sharded<T>([Padded<T>; SHARDS]);

impl<T> Sharded<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Sharded(std::array::from_fn(|_| Padded(make())))
    }

    /// The calling thread's.
    pub(crate) fn mine(&self) -> &T {
        let [first, ..] = &self.0;
        let mine = self.0.get(thread_number() % SHARDS).unwrap_or(first);
        &mine.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
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
