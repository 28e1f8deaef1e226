//! Threads for compiling: a few of its own, of low priority, so that running calls keep the cores.
//!
//! Each job says how large its module is, and is due at its arrival plus a time in proportion to that: the earliest is
//! taken first. So small modules overtake large ones, and a large one is overtaken for so long and no longer (earliest
//! due date first, with a due date that stands for patience). One more thread takes small modules alone: they don't wait
//! for a large one that is being compiled either.
//!
//! A module is compiled on several threads. A job gets its share of those that are free when its turn comes: all of them
//! when no other waits, one when many do.
//!
//! A job that takes long over what is not compiling steps aside ([`step_aside`]): a thread comes for small modules in its
//! place, so that no few of them hold up all others.
//!
//! Jobs that nobody waits for are done one after the other on as many threads again, of a priority that is lower still.
//! None is begun while any of the others waits, and one that has begun gives way to them by its priority alone.

mod aside;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

pub(crate) use aside::step_aside;

/// Up to this size a module takes some 100 ms at most, and the thread for small ones may compile it.
pub(crate) const SMALL_BYTES: usize = 256 << 10;
/// How long a job may be overtaken for each KiB of its module: some five times as long as compiling it takes.
const PATIENCE_PER_KIB: Duration = Duration::from_millis(4);
/// Beside a core's other work a thread of this niceness gets a quarter of it (a weight of 335 to 1024), and it gives the
/// core back to whoever wakes up. A higher one changes nothing for calls, and beside busy cores a deploy takes minutes.
const NICE: i32 = 5;
/// That of jobs which nobody waits for: a weight of 110, a third of the others'.
const LATER_NICE: i32 = 10;

/// The queue and its threads. Jobs that were handed in are run, even when the pool is dropped meanwhile.
pub struct CompilePool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    small: Queue,
    large: Queue,
    later: VecDeque<Job>,
    /// Jobs that have come so far: breaks ties of due times.
    count: u64,
    /// Threads that no job has.
    free: usize,
    /// Jobs that have stepped aside, and threads in the place of those that are back.
    aside: usize,
    returned: usize,
    stop: bool,
}

/// By due time.
type Queue = BTreeMap<(Instant, u64), Job>;
type Job = Box<dyn FnOnce() + Send>;

impl CompilePool {
    /// A pool of `threads` threads, 1 at least, and the one for small modules.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let state = State {
            small: Queue::new(),
            large: Queue::new(),
            later: VecDeque::new(),
            count: 0,
            free: threads,
            aside: 0,
            returned: 0,
            stop: false,
        };
        let pool = CompilePool { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) };
        for _ in 0..threads {
            pool.thread(NICE, |shared| {
                while let Some((job, threads)) = shared.next() {
                    shared.run(job, threads)
                }
            })?;
        }
        pool.thread(NICE, |shared| {
            while let Some(job) = shared.next_small(State::is_over) {
                run(shared, job, 1, NICE);
                shared.changed.notify_all();
            }
        })?;
        pool.thread(LATER_NICE, move |shared| {
            while let Some(job) = shared.next_later() {
                run(shared, job, threads, LATER_NICE);
            }
        })?;
        Ok(pool)
    }

    /// Queues `job`, which compiles a module of `module_bytes`. It runs once, on a thread of the pool, within which
    /// rayon's work goes to the threads that the job was given. What it unwinds with is dropped.
    pub fn submit(&self, module_bytes: usize, job: impl FnOnce() + Send + 'static) {
        self.shared.state().push(Instant::now(), module_bytes, Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Queues `job` behind all that is submitted, now and from now on, for nobody waits for it: while anything else waits it
    /// is not begun, and when the pool is dropped before that it never is.
    pub(crate) fn submit_later(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.state().later.push_back(Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Jobs that somebody waits for and that wait for their turn.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.state().waiting()
    }

    fn thread(&self, nice: i32, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> std::io::Result<()> {
        spawn(Arc::clone(&self.shared), nice, work)
    }
}

// Never joined: the pool may be dropped by the last job, on its own thread.
fn spawn(shared: Arc<Shared>, nice: i32, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("tidepool-compile".into()).spawn(move || {
        lower_priority(nice);
        work(&shared);
    })?;
    Ok(())
}

impl Drop for CompilePool {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job whose turn it is, and how many threads it has; `None` when the pool is gone and nothing is left to do.
    fn next(&self) -> Option<(Job, usize)> {
        let mut state = self.state();
        loop {
            if state.free > 0
                && let Some(job) = state.pop()
            {
                let threads = (state.free / (1 + state.waiting())).max(1);
                state.free -= threads;
                return Some((job, threads));
            }
            if state.stop && state.waiting() == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A small job, until `is_over`.
    fn next_small(&self, is_over: fn(&mut State) -> bool) -> Option<Job> {
        let mut state = self.state();
        loop {
            if is_over(&mut state) {
                return None;
            }
            if let Some((_due, job)) = state.small.pop_first() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_later(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            if state.waiting() == 0
                && let Some(job) = state.later.pop_front()
            {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(self: &Arc<Self>, job: Job, threads: usize) {
        run(self, job, threads, NICE);
        self.state().free += threads;
        self.changed.notify_all();
    }
}

impl State {
    fn is_over(&mut self) -> bool {
        self.stop && self.small.is_empty()
    }

    fn waiting(&self) -> usize {
        self.small.len() + self.large.len()
    }

    fn push(&mut self, now: Instant, module_bytes: usize, job: Job) {
        let kib = u32::try_from(module_bytes >> 10).unwrap_or(u32::MAX);
        let due = now + PATIENCE_PER_KIB.saturating_mul(kib);
        let queue = if module_bytes <= SMALL_BYTES { &mut self.small } else { &mut self.large };
        queue.insert((due, self.count), job);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<Job> {
        let small = self.small.first_key_value().map(|(due, _)| *due);
        let large = self.large.first_key_value().map(|(due, _)| *due);
        let queue = match (small, large) {
            (Some(small), Some(large)) if large < small => &mut self.large,
            (None, _) => &mut self.large,
            _ => &mut self.small,
        };
        queue.pop_first().map(|(_due, job)| job)
    }
}

/// Runs `job` with so many threads of its own for rayon's work.
fn run(shared: &Arc<Shared>, job: Job, threads: usize, nice: i32) {
    let pool = Arc::clone(shared);
    let job = move || aside::within(pool, job);
    // A job says for itself what became of it, when it unwinds too.
    let caught = AssertUnwindSafe(|| match workers(threads, nice) {
        Ok(workers) => workers.install(job),
        // Without threads of its own it has this one, and rayon's for the whole process.
        Err(_) => job(),
    });
    drop(catch_unwind(caught));
}

fn workers(threads: usize, nice: i32) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|_| "tidepool-compile".into())
        .start_handler(move |_| lower_priority(nice))
        .build()
}

/// On Linux a priority is a thread's own, and lowering it is allowed to everybody.
fn lower_priority(nice: i32) {
    // Where it fails all the same, compiling is a worse neighbour and no more.
    let _ = rustix::process::setpriority_process(None, nice);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SMALL: usize = 1 << 10;
    const LARGE: usize = 2 << 20;

    /// A job that says that it runs, and ends when it may.
    struct Held {
        running: Receiver<()>,
        end: Sender<()>,
    }

    fn hold(pool: &CompilePool, module_bytes: usize) -> Held {
        let (runs, running) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        pool.submit(module_bytes, move || {
            runs.send(()).unwrap();
            // Ends when the test does, too.
            let _ = may_end.recv();
        });
        Held { running, end }
    }

    /// Keeps a pool of one thread busy, and the thread for small modules.
    fn hold_all(pool: &CompilePool) -> [Held; 2] {
        [LARGE, SMALL].map(|module_bytes| {
            let held = hold(pool, module_bytes);
            held.running.recv_timeout(PATIENCE).unwrap();
            held
        })
    }

    #[test]
    fn a_small_module_does_not_wait_for_a_large_one_that_is_being_compiled() {
        let pool = CompilePool::spawn(1).unwrap();
        let large = hold(&pool, LARGE);
        large.running.recv_timeout(PATIENCE).unwrap();
        let waiting = hold(&pool, LARGE);
        let small = hold(&pool, SMALL);
        small.running.recv_timeout(PATIENCE).unwrap();
        assert!(waiting.running.try_recv().is_err());
        assert_eq!(pool.queued(), 1);
        large.end.send(()).unwrap();
        waiting.running.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn small_modules_overtake_large_ones_that_wait_for_so_long_and_no_longer() {
        let (ran, order) = mpsc::channel();
        let job = |name: &'static str| -> Job {
            let ran = ran.clone();
            Box::new(move || ran.send(name).unwrap())
        };
        let mut state = State {
            small: Queue::new(),
            large: Queue::new(),
            later: VecDeque::new(),
            count: 0,
            free: 1,
            aside: 0,
            returned: 0,
            stop: false,
        };
        let now = Instant::now();
        let patience = PATIENCE_PER_KIB * u32::try_from(LARGE >> 10).unwrap();
        let second = Duration::from_secs(1);
        state.push(now, LARGE, job("large"));
        state.push(now + second, LARGE, job("large, later"));
        state.push(now + second, SMALL, job("small"));
        state.push(now + second, SMALL, job("small, second"));
        state.push(now + patience + second / 2, SMALL, job("small, too late"));
        while let Some(job) = state.pop() {
            job();
        }
        let order: Vec<&str> = order.try_iter().collect();
        assert_eq!(order, ["small", "small, second", "large", "small, too late", "large, later"]);
    }

    #[test]
    fn a_lone_job_has_all_threads_and_one_of_many_has_one() {
        let pool = CompilePool::spawn(3).unwrap();
        let (tell, told) = mpsc::channel();
        let threads = |module_bytes| {
            let tell = tell.clone();
            pool.submit(module_bytes, move || tell.send(rayon::current_num_threads()).unwrap());
        };
        threads(LARGE);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(3));
        // Whoever is told that nothing is left to do may do so before its threads are free again.
        while pool.shared.state().free < 3 {
            thread::yield_now();
        }
        let held = hold(&pool, LARGE);
        held.running.recv_timeout(PATIENCE).unwrap();
        for _ in 0..6 {
            threads(LARGE);
        }
        assert!(told.try_recv().is_err(), "the first job has them all");
        held.end.send(()).unwrap();
        for _ in 0..3 {
            assert_eq!(told.recv_timeout(PATIENCE), Ok(1));
        }
    }

    #[test]
    fn it_computes_at_a_low_priority() {
        let pool = CompilePool::spawn(2).unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        for module_bytes in [SMALL, LARGE] {
            let (tell, told) = mpsc::channel();
            pool.submit(module_bytes, move || tell.send((nice(), rayon::broadcast(|_| nice()))).unwrap());
            let (job, workers) = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(job, NICE);
            assert!(workers.iter().all(|worker| *worker == NICE));
        }
        assert_eq!(nice(), before);
    }

    #[test]
    fn what_nobody_waits_for_is_done_beside_at_a_lower_priority_and_not_at_all_when_the_pool_is_dropped() {
        let pool = CompilePool::spawn(2).unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (tell, told) = mpsc::channel();
        let later = |pool: &CompilePool| {
            let tell = tell.clone();
            pool.submit_later(move || tell.send((nice(), rayon::broadcast(|_| nice()))).unwrap());
        };
        let held = hold(&pool, LARGE);
        held.running.recv_timeout(PATIENCE).unwrap();
        later(&pool);
        let priorities = told.recv_timeout(PATIENCE);
        assert_eq!(priorities, Ok((LATER_NICE, vec![LATER_NICE; 2])));
        let waiting = hold(&pool, LARGE);
        later(&pool);
        drop(pool);
        drop((held.end, waiting.end));
        drop(tell);
        assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn what_nobody_waits_for_is_done_when_the_last_small_module_is_begun_whoever_else_comes() {
        let pool = CompilePool::spawn(1).unwrap();
        let large = hold(&pool, LARGE);
        large.running.recv_timeout(PATIENCE).unwrap();
        let (tell, told) = mpsc::channel();
        for _ in 0..10 {
            let small = hold(&pool, SMALL);
            small.running.recv_timeout(PATIENCE).unwrap();
            let second = hold(&pool, SMALL);
            let tell = tell.clone();
            pool.submit_later(move || tell.send(()).unwrap());
            assert!(told.try_recv().is_err(), "a module waits");
            drop((small.end, second.end));
            told.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_along() {
        let pool = CompilePool::spawn(1).unwrap();
        for _ in 0..3 {
            pool.submit(LARGE, || panic!("on purpose"));
            pool.submit(SMALL, || panic!("on purpose"));
        }
        drop(hold_all(&pool));
    }

    #[test]
    fn what_was_handed_in_is_run_when_the_pool_is_dropped_and_its_threads_end() {
        let pool = CompilePool::spawn(1).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        let held = hold_all(&pool);
        let (tell, told) = mpsc::channel();
        for _ in 0..5 {
            let tell = tell.clone();
            pool.submit(LARGE, move || tell.send(()).unwrap());
        }
        drop(pool);
        drop(held);
        for _ in 0..5 {
            told.recv_timeout(PATIENCE).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while shared.upgrade().is_some() {
            assert!(Instant::now() < deadline, "a thread is left");
            thread::yield_now();
        }
    }
}
