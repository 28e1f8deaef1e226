//! What the threads of a pool share: jobs that wait, and those that have stepped aside.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::turns::{Job, Owner, Sizes, Turns, Waiting};

/// How long a job may be overtaken by others of its owner for each KiB of its module: some five times as long as compiling it takes.
pub(super) const PATIENCE_PER_KIB: Duration = Duration::from_millis(4);

/// How many other jobs overtake the first one of those for modules that guests have brought.
pub(super) const OVERTAKES_BROUGHT: usize = 4;

/// Most jobs that may have stepped aside at once.
pub(super) const MAX_ASIDE: usize = 8;
/// While so many of one owner have, no other job of it begins.
pub(super) const MAX_ASIDE_OF_ONE: usize = MAX_ASIDE / 2;

/// Threads that serve others in place of large jobs: one, and one whose last job takes longer than the one that it served for. That may be a
/// long one as well, which leaves others a thread in its turn.
pub(super) const MAX_SERVING: usize = 2;

/// How long a background job waits while others do: whoever always has one waiting keeps nobody's code from being optimised.
pub(super) const BACKGROUND_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct JobQueue {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) jobs: Turns,
    /// For modules that guests have brought. However many there are, they keep no other job from its turn, or from threads, but one in
    /// so many turns.
    pub(super) brought: Turns,
    /// Other jobs that have overtaken the first of those.
    pub(super) overtook: usize,
    /// What no deploy waits for, of owners in turns, too.
    background: Turns,
    /// Threads without a job.
    pub(super) free: usize,
    /// Jobs that have stepped aside, by whose they are, and threads in the place of those that are back.
    aside: BTreeMap<Owner, usize>,
    places: usize,
    pub(super) returned: usize,
    /// Whose large job has left others a thread in its place, and which of those that have it is.
    long: Option<(Owner, u64)>,
    longs: u64,
    /// Threads that serve others in place of such jobs, or did and are at their last job.
    serving: usize,
    pub(super) stop: bool,
}

impl JobQueue {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, and how many threads it gets; `None` when the pool is gone and no job is left.
    pub(super) fn next(&self) -> Option<(Waiting, usize)> {
        let mut state = self.state();
        loop {
            if state.free > 0
                && let Some(job) = state.pop()
            {
                let (job, is_brought) = job;
                let threads = if is_brought { 1 } else { (state.free / (1 + state.ready())).max(1) };
                state.free -= threads;
                return Some((job, threads));
            }
            if state.stop && state.jobs.is_empty(Sizes::All) && state.brought.is_empty(Sizes::All) {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A small job, until `is_over`.
    pub(super) fn next_small(&self, is_over: fn(&mut State) -> bool) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if is_over(&mut state) {
                return None;
            }
            if let Some(job) = state.pop_small() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job of another owner than the one whose large job of this number takes long, until that is back.
    pub(super) fn next_of_others(&self, number: u64) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if state.long.as_ref().is_none_or(|(_owner, long)| *long != number) {
                state.serving = state.serving.saturating_sub(1);
                return None;
            }
            if let Some(job) = state.pop_of_others() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next background job, when no other waits that may begin, or it has waited for long; `None` when the pool is gone.
    pub(super) fn next_background(&self) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            let now = Instant::now();
            if let Some(job) = state.pop_background(now) {
                return Some(job);
            }
            state = match state.background_left(now) {
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// May a job of this owner begin? Those that step aside hold a thread until they do.
fn may_begin(aside: &BTreeMap<Owner, usize>) -> impl Fn(&str) -> bool {
    move |owner| aside.get(owner).is_none_or(|aside| *aside < MAX_ASIDE_OF_ONE)
}

impl State {
    /// No jobs yet, and this many threads.
    pub(super) fn new(threads: usize) -> Self {
        State { free: threads, ..State::default() }
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.stop && self.jobs.is_empty(Sizes::Small)
    }

    pub(super) fn push(&mut self, now: Instant, owner: &str, module_bytes: usize, job: Job) {
        let kib = u32::try_from(module_bytes >> 10).unwrap_or(u32::MAX);
        let due = now + PATIENCE_PER_KIB.saturating_mul(kib);
        self.jobs.push(due, Waiting { owner: Arc::from(owner), module_bytes, job }, may_begin(&self.aside));
    }

    /// Jobs for modules that guests have brought go in the order in which they come.
    pub(super) fn push_brought(&mut self, now: Instant, owner: &str, module_bytes: usize, job: Job) {
        self.brought.push(now, Waiting { owner: Arc::from(owner), module_bytes, job }, may_begin(&self.aside));
    }

    /// Background jobs of an owner go in the order in which they come.
    pub(super) fn push_background(&mut self, now: Instant, owner: &str, module_bytes: usize, job: Job) {
        self.background.push(now, Waiting { owner: Arc::from(owner), module_bytes, job }, |_owner| true);
    }

    /// The background job whose turn it is, if it may begin now.
    pub(super) fn pop_background(&mut self, now: Instant) -> Option<Waiting> {
        let others_wait = self.jobs.next_due(Sizes::All, may_begin(&self.aside)).is_some();
        if others_wait && self.background_left(now).is_none_or(|left| !left.is_zero()) {
            return None;
        }
        self.background.pop(Sizes::All, |_owner| true)
    }

    /// How long until the background job whose turn it is may begin although others wait.
    fn background_left(&self, now: Instant) -> Option<Duration> {
        let came = self.background.next_due(Sizes::All, |_owner| true)?;
        Some(BACKGROUND_PATIENCE.saturating_sub(now.saturating_duration_since(came)))
    }

    /// How many jobs wait for a thread alone, but for those of guests.
    fn ready(&self) -> usize {
        self.jobs.ready(may_begin(&self.aside))
    }

    /// The next job, and whether it is for a module that a guest has brought.
    pub(super) fn pop(&mut self) -> Option<(Waiting, bool)> {
        let Self { jobs, brought, aside, .. } = self;
        let may_begin = may_begin(aside);
        let is_turn = self.overtook >= OVERTAKES_BROUGHT || jobs.next_due(Sizes::All, &may_begin).is_none();
        if is_turn && let Some(job) = brought.pop(Sizes::All, &may_begin) {
            self.overtook = 0;
            return Some((job, true));
        }
        let job = jobs.pop(Sizes::All, &may_begin)?;
        self.overtook = if brought.is_empty(Sizes::All) { 0 } else { self.overtook.saturating_add(1) };
        Some((job, false))
    }

    /// The next job for a small module: of those that guests have brought when there is no other.
    fn pop_small(&mut self) -> Option<Waiting> {
        let Self { jobs, brought, aside, .. } = self;
        let may_begin = may_begin(aside);
        jobs.pop(Sizes::Small, &may_begin).or_else(|| brought.pop(Sizes::Small, &may_begin))
    }

    /// The next job of another owner than the one whose large job takes long: of those that guests have brought when there is no other.
    fn pop_of_others(&mut self) -> Option<Waiting> {
        let Self { jobs, brought, aside, long, .. } = self;
        let may_begin = may_begin(aside);
        let is_next = |owner: &str| long.as_ref().is_none_or(|(long, _number)| **long != *owner) && may_begin(owner);
        jobs.pop(Sizes::All, is_next).or_else(|| brought.pop(Sizes::All, is_next))
    }

    /// A large job of this owner leaves others a thread in its place, unless another has, or as many as may be have their last jobs: the
    /// number by which that thread serves.
    pub(super) fn leave_to_others(&mut self, owner: &Owner) -> Option<u64> {
        if self.long.is_some() || self.serving >= MAX_SERVING {
            return None;
        }
        self.longs += 1;
        self.serving += 1;
        self.long = Some((Arc::clone(owner), self.longs));
        Some(self.longs)
    }

    /// The large job is back: the thread in its place ends with the job that it does.
    pub(super) fn long_is_back(&mut self) {
        self.long = None;
    }

    /// There was no thread to serve others in its place.
    pub(super) fn none_serves_others(&mut self) {
        (self.long, self.serving) = (None, self.serving.saturating_sub(1));
    }

    /// A job of this owner steps aside; `false` when too many have, of all or of its own.
    pub(super) fn step_aside(&mut self, owner: &Owner) -> bool {
        let may = self.places < MAX_ASIDE && may_begin(&self.aside)(owner);
        if may {
            self.places += 1;
            *self.aside.entry(Arc::clone(owner)).or_default() += 1;
        }
        may
    }

    /// A job of this owner is back; a thread that serves in the place of one is to end.
    pub(super) fn back(&mut self, owner: &Owner) {
        self.returned += 1;
        self.not_aside(owner);
    }

    /// There was no thread to serve in the place of a job of this owner.
    pub(super) fn not_replaced(&mut self, owner: &Owner) {
        self.places -= 1;
        self.not_aside(owner);
    }

    fn not_aside(&mut self, owner: &Owner) {
        let was_held = !may_begin(&self.aside)(owner);
        let left = self.aside.get(owner).map_or(0, |aside| aside.saturating_sub(1));
        if left == 0 {
            self.aside.remove(owner);
        } else {
            self.aside.insert(Arc::clone(owner), left);
        }
        if was_held {
            self.jobs.release(owner, may_begin(&self.aside));
            self.brought.release(owner, may_begin(&self.aside));
        }
    }

    /// Whether a thread that serves in the place of a job ends: one ends for each job that is back.
    pub(super) fn is_place_back(&mut self) -> bool {
        let back = self.returned > 0;
        if back {
            self.returned -= 1;
            self.places -= 1;
        }
        back
    }
}
