//! Jobs that wait for a thread, by when they are due.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Up to this size a module takes some 100 ms at most, and the thread for small ones may compile it.
pub(crate) const SMALL_BYTES: usize = 256 << 10;
/// How long a job may be overtaken for each KiB of its module: some five times as long as compiling it takes.
pub(super) const PATIENCE_PER_KIB: Duration = Duration::from_millis(4);

/// How many other jobs overtake the first one of those for modules that guests have brought.
pub(super) const OVERTAKES_BROUGHT: usize = 4;

pub(super) struct JobQueue {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) small: ByDueTime,
    pub(super) large: ByDueTime,
    /// For modules that guests have brought, with their sizes. However many there are, they keep no other job from its turn, or from
    /// threads, but one in so many turns.
    pub(super) brought: VecDeque<(usize, Job)>,
    /// Other jobs that have overtaken the first of those.
    pub(super) overtook: usize,
    pub(super) background: VecDeque<Job>,
    /// Jobs that have come so far: breaks ties of due times.
    pub(super) count: u64,
    /// Threads without a job.
    pub(super) free: usize,
    /// Jobs that have stepped aside, and threads in the place of those that are back.
    pub(super) aside: usize,
    pub(super) returned: usize,
    pub(super) stop: bool,
}

/// By due time.
pub(super) type ByDueTime = BTreeMap<(Instant, u64), Job>;
pub(super) type Job = Box<dyn FnOnce() + Send>;

impl JobQueue {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, and how many threads it gets; `None` when the pool is gone and no job is left.
    pub(super) fn next(&self) -> Option<(Job, usize)> {
        let mut state = self.state();
        loop {
            if state.free > 0
                && let Some(job) = state.pop()
            {
                let (job, is_brought) = job;
                let threads = if is_brought { 1 } else { (state.free / (1 + state.waiting())).max(1) };
                state.free -= threads;
                return Some((job, threads));
            }
            if state.stop && state.waiting() == 0 && state.brought.is_empty() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A small job, until `is_over`.
    pub(super) fn next_small(&self, is_over: fn(&mut State) -> bool) -> Option<Job> {
        let mut state = self.state();
        loop {
            if is_over(&mut state) {
                return None;
            }
            if let Some((_due, job)) = state.small.pop_first() {
                return Some(job);
            }
            let is_small = state.brought.front().is_some_and(|(bytes, _job)| *bytes <= SMALL_BYTES);
            if is_small && let Some((_bytes, job)) = state.brought.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next background job, when no other waits; `None` when the pool is gone.
    pub(super) fn next_background(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            if state.waiting() == 0
                && let Some(job) = state.background.pop_front()
            {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// No jobs yet, and this many threads.
    pub(super) fn new(threads: usize) -> Self {
        State {
            small: ByDueTime::new(),
            large: ByDueTime::new(),
            brought: VecDeque::new(),
            overtook: 0,
            background: VecDeque::new(),
            count: 0,
            free: threads,
            aside: 0,
            returned: 0,
            stop: false,
        }
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.stop && self.small.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.small.len() + self.large.len()
    }

    pub(super) fn push(&mut self, now: Instant, module_bytes: usize, job: Job) {
        let kib = u32::try_from(module_bytes >> 10).unwrap_or(u32::MAX);
        let due = now + PATIENCE_PER_KIB.saturating_mul(kib);
        let queue = if module_bytes <= SMALL_BYTES { &mut self.small } else { &mut self.large };
        queue.insert((due, self.count), job);
        self.count += 1;
    }

    /// The next job, and whether it is for a module that a guest has brought.
    pub(super) fn pop(&mut self) -> Option<(Job, bool)> {
        let is_turn = self.overtook >= OVERTAKES_BROUGHT || self.small.is_empty() && self.large.is_empty();
        if is_turn && let Some((_bytes, job)) = self.brought.pop_front() {
            self.overtook = 0;
            return Some((job, true));
        }
        self.overtook = if self.brought.is_empty() { 0 } else { self.overtook.saturating_add(1) };
        let small = self.small.first_key_value().map(|(due, _)| *due);
        let large = self.large.first_key_value().map(|(due, _)| *due);
        let queue = match (small, large) {
            (Some(small), Some(large)) if large < small => &mut self.large,
            (None, _) => &mut self.large,
            _ => &mut self.small,
        };
        queue.pop_first().map(|(_due, job)| (job, false))
    }

    /// Whether a thread that serves in the place of a job ends: one ends for each job that is back.
    pub(super) fn is_place_back(&mut self) -> bool {
        let back = self.returned > 0;
        if back {
            self.returned -= 1;
            self.aside -= 1;
        }
        back
    }
}
