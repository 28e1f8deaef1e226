//! The pool, as its users see it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::queue::{JobQueue, State};
use super::threads::{BACKGROUND_NICE, NICE, run, spawn};
use super::turns::Waiting;

/// The queue and its threads. Jobs that were handed in are run, even when the pool is dropped meanwhile.
pub struct CompilePool {
    pub(super) shared: Arc<JobQueue>,
}

impl CompilePool {
    /// A pool of `threads` threads, 1 at least, and the one for small modules.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let state = State::new(threads);
        let pool = CompilePool { shared: Arc::new(JobQueue { state: Mutex::new(state), changed: Condvar::new() }) };
        for _ in 0..threads {
            pool.thread(NICE, |shared| {
                while let Some((job, threads)) = shared.next() {
                    do_one(shared, job, threads);
                }
            })?;
        }
        pool.thread(NICE, |shared| {
            while let Some(job) = shared.next_small(State::is_over) {
                run(shared, &job.owner, job.job, 1, NICE);
                shared.changed.notify_all();
            }
        })?;
        pool.thread(BACKGROUND_NICE, move |shared| {
            while let Some(job) = shared.next_background() {
                run(shared, &job.owner, job.job, threads, BACKGROUND_NICE);
            }
        })?;
        Ok(pool)
    }

    /// Queues `job`, which compiles a module of `module_bytes`, among those of its `owner`: the namespace of its function, or the empty
    /// text. It runs once, on a thread of the pool, within which rayon's work goes to the threads that the job was given. What it
    /// unwinds with is dropped.
    pub fn submit(&self, owner: &str, module_bytes: usize, job: impl FnOnce() + Send + 'static) {
        self.shared.state().push(Instant::now(), owner, module_bytes, Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Queues `job`, which compiles a module that a guest of `owner` has brought: others overtake it, but not for good.
    pub fn submit_brought(&self, owner: &str, module_bytes: usize, job: impl FnOnce() + Send + 'static) {
        self.shared.state().push_brought(Instant::now(), owner, module_bytes, Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Queues `job` in the background, for a module of `owner`: it begins when no other job waits, or when it has waited for long, and never
    /// if the pool is dropped before that.
    pub(crate) fn submit_background(&self, owner: &str, module_bytes: usize, job: impl FnOnce() + Send + 'static) {
        self.shared.state().push_background(Instant::now(), owner, module_bytes, Box::new(job));
        self.shared.changed.notify_all();
    }

    /// Jobs that wait for a thread, background jobs apart.
    #[must_use]
    pub fn queued(&self) -> usize {
        let state = self.shared.state();
        state.jobs.len() + state.brought.len()
    }

    fn thread(&self, nice: i32, work: impl FnOnce(&Arc<JobQueue>) + Send + 'static) -> std::io::Result<()> {
        spawn(Arc::clone(&self.shared), nice, work)
    }
}

/// Runs a job on `threads` of the pool's threads, then frees them.
fn do_one(shared: &Arc<JobQueue>, job: Waiting, threads: usize) {
    run(shared, &job.owner, job.job, threads, NICE);
    shared.state().free += threads;
    shared.changed.notify_all();
}

impl Drop for CompilePool {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]
pub(super) mod tests {
    use std::sync::Weak;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread;
    use std::time::Duration;

    use super::super::queue::{BACKGROUND_PATIENCE, OVERTAKES_BROUGHT, PATIENCE_PER_KIB};
    use super::super::turns::Job;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Waits until a pool that was dropped has no thread any more.
    pub(in crate::os::compile_pool) fn end(shared: &Weak<JobQueue>) {
        let deadline = Instant::now() + PATIENCE;
        while shared.upgrade().is_some() {
            assert!(Instant::now() < deadline, "a thread is left");
            thread::yield_now();
        }
    }
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
        pool.submit("", module_bytes, move || {
            runs.send(()).unwrap();
            // Ends when the test does, too.
            let _ = may_end.recv();
        });
        Held { running, end }
    }

    /// Makes jobs that tell their names when they run.
    fn telling() -> (impl Fn(&'static str) -> Job, Receiver<&'static str>) {
        let (ran, order) = mpsc::channel();
        let job = move |name| -> Job {
            let ran = ran.clone();
            Box::new(move || ran.send(name).unwrap())
        };
        (job, order)
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
        let (job, order) = telling();
        let mut state = State::new(1);
        let now = Instant::now();
        let patience = PATIENCE_PER_KIB * u32::try_from(LARGE >> 10).unwrap();
        let second = Duration::from_secs(1);
        state.push(now, "", LARGE, job("large"));
        state.push(now + second, "", LARGE, job("large, later"));
        state.push(now + second, "", SMALL, job("small"));
        state.push(now + second, "", SMALL, job("small, second"));
        state.push(now + patience + second / 2, "", SMALL, job("small, too late"));
        while let Some((waiting, _is_brought)) = state.pop() {
            (waiting.job)();
        }
        let order: Vec<&str> = order.try_iter().collect();
        assert_eq!(order, ["small", "small, second", "large", "small, too late", "large, later"]);
    }

    #[test]
    fn a_module_waits_for_one_that_a_guest_has_brought_however_many_these_are_and_they_have_their_turn() {
        let (job, order) = telling();
        let mut state = State::new(1);
        let now = Instant::now();
        for _ in 0..1_000 {
            state.push_brought(now, "", LARGE, job("brought"));
        }
        for _ in 0..OVERTAKES_BROUGHT {
            state.push(now, "", SMALL, job("small"));
            state.push(now, "", LARGE, job("large"));
        }
        for _ in 0..2 * OVERTAKES_BROUGHT + 3 {
            (state.pop().unwrap().0.job)();
        }
        let order: Vec<&str> = order.try_iter().collect();
        assert_eq!(
            order,
            ["small", "small", "small", "small", "brought", "large", "large", "large", "large", "brought", "brought"]
        );
        assert_eq!((state.jobs.len(), state.brought.len()), (0, 997));
    }

    #[test]
    fn modules_of_an_owner_wait_for_no_more_of_another_than_they_are_whether_deployed_or_brought() {
        for brought in [false, true] {
            let (job, order) = telling();
            let (mut state, now) = (State::new(1), Instant::now());
            let push = if brought { State::push_brought } else { State::push };
            (0..100).for_each(|_| push(&mut state, now, "shop", LARGE, job("shop")));
            (0..2).for_each(|_| push(&mut state, now + PATIENCE, "blog", LARGE, job("blog")));
            for _ in 0..6 {
                (state.pop().unwrap().0.job)();
            }
            assert_eq!(order.try_iter().collect::<Vec<_>>(), ["shop", "blog", "shop", "blog", "shop", "shop"]);
        }
    }

    #[test]
    fn an_owner_that_always_has_a_module_waiting_keeps_anothers_from_being_optimised_for_so_long_and_no_longer() {
        let (job, order) = telling();
        let (mut state, now) = (State::new(1), Instant::now());
        state.push_background(now, "blog", LARGE, job("blog"));
        state.push(now, "shop", LARGE, job("shop"));
        assert!(state.pop_background(now + BACKGROUND_PATIENCE / 2).is_none(), "a module waits");
        (state.pop_background(now + BACKGROUND_PATIENCE).unwrap().job)();
        state.push_background(now, "blog", LARGE, job("blog, second"));
        assert!(state.pop_background(now).is_none());
        (state.pop().unwrap().0.job)();
        (state.pop_background(now).unwrap().job)();
        assert!(state.pop_background(now + BACKGROUND_PATIENCE).is_none(), "there is none");
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["blog", "shop", "blog, second"]);
    }

    #[test]
    fn a_module_is_optimised_after_as_many_of_another_owner_as_its_own_has_had_however_many_these_are() {
        let (job, order) = telling();
        let (mut state, now) = (State::new(1), Instant::now());
        (0..100).for_each(|_| state.push_background(now, "shop", LARGE, job("shop")));
        (0..2).for_each(|_| state.push_background(now + PATIENCE, "blog", LARGE, job("blog")));
        for _ in 0..6 {
            (state.pop_background(now).unwrap().job)();
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["shop", "blog", "shop", "blog", "shop", "shop"]);
    }

    #[test]
    fn a_lone_job_has_all_threads_and_one_of_many_has_one() {
        let pool = CompilePool::spawn(3).unwrap();
        let (tell, told) = mpsc::channel();
        let threads = |module_bytes| {
            let tell = tell.clone();
            pool.submit("", module_bytes, move || tell.send(rayon::current_num_threads()).unwrap());
        };
        threads(LARGE);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(3));
        // The job tells before its threads are free again.
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
            pool.submit("", module_bytes, move || tell.send((nice(), rayon::broadcast(|_| nice()))).unwrap());
            let (job, workers) = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(job, NICE);
            assert!(workers.iter().all(|worker| *worker == NICE));
        }
        assert_eq!(nice(), before);
    }

    #[test]
    fn background_jobs_run_beside_others_at_a_lower_priority_and_not_at_all_when_the_pool_is_dropped() {
        let pool = CompilePool::spawn(2).unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (tell, told) = mpsc::channel();
        let later = |pool: &CompilePool| {
            let tell = tell.clone();
            pool.submit_background("", LARGE, move || tell.send((nice(), rayon::broadcast(|_| nice()))).unwrap());
        };
        let held = hold(&pool, LARGE);
        held.running.recv_timeout(PATIENCE).unwrap();
        later(&pool);
        let priorities = told.recv_timeout(PATIENCE);
        assert_eq!(priorities, Ok((BACKGROUND_NICE, vec![BACKGROUND_NICE; 2])));
        let waiting = hold(&pool, LARGE);
        later(&pool);
        drop(pool);
        drop((held.end, waiting.end));
        drop(tell);
        assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_background_job_runs_once_the_last_small_module_is_begun_whichever_jobs_run() {
        let pool = CompilePool::spawn(1).unwrap();
        let large = hold(&pool, LARGE);
        large.running.recv_timeout(PATIENCE).unwrap();
        let (tell, told) = mpsc::channel();
        for _ in 0..10 {
            let small = hold(&pool, SMALL);
            small.running.recv_timeout(PATIENCE).unwrap();
            let second = hold(&pool, SMALL);
            let tell = tell.clone();
            pool.submit_background("", LARGE, move || tell.send(()).unwrap());
            assert!(told.try_recv().is_err(), "a module waits");
            drop((small.end, second.end));
            told.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_along() {
        let pool = CompilePool::spawn(1).unwrap();
        for _ in 0..3 {
            pool.submit("", LARGE, || panic!("on purpose"));
            pool.submit("", SMALL, || panic!("on purpose"));
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
            pool.submit("", LARGE, move || tell.send(()).unwrap());
        }
        drop(pool);
        drop(held);
        for _ in 0..5 {
            told.recv_timeout(PATIENCE).unwrap();
        }
        end(&shared);
    }
}
