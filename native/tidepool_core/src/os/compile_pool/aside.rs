//! Jobs that take long for something other than compiling, and the threads that serve in their place.

use std::sync::Arc;

use super::queue::{JobQueue, State};
use super::threads::{NICE, pool, run, spawn};

/// Most jobs that may have stepped aside at once.
const MAX_ASIDE: usize = 8;

/// A job that has stepped aside; it is back on drop.
pub(crate) struct Aside(Arc<JobQueue>);

/// Starts a thread that serves small modules while the calling job goes on: for jobs whose duration their deployer decides.
/// `None` outside of a pool's jobs, when too many have stepped aside, and when the system gives no thread.
pub(crate) fn step_aside() -> Option<Aside> {
    let shared = pool()?;
    {
        let mut state = shared.state();
        if state.aside >= MAX_ASIDE {
            return None;
        }
        state.aside += 1;
    }
    let serve = |shared: &Arc<JobQueue>| {
        while let Some(job) = shared.next_small(State::is_place_back) {
            run(shared, job, 1, NICE);
        }
    };
    if spawn(Arc::clone(&shared), NICE, serve).is_err() {
        shared.state().aside -= 1;
        return None;
    }
    Some(Aside(shared))
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.state().returned += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::pool::CompilePool;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SMALL: usize = 1 << 10;

    #[test]
    fn small_modules_do_not_wait_for_jobs_that_have_stepped_aside_and_their_threads_go_when_those_are_back() {
        let pool = CompilePool::spawn(1).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        let (tell, aside) = mpsc::channel();
        // As many as there are threads, and those that have come in their place.
        let ends: Vec<_> = (0..MAX_ASIDE)
            .map(|_| {
                let (end, may_end) = mpsc::channel::<()>();
                let tell = tell.clone();
                pool.submit(SMALL, move || {
                    let stepped = step_aside();
                    tell.send(stepped.is_some()).unwrap();
                    let _ = may_end.recv();
                });
                assert_eq!(aside.recv_timeout(PATIENCE), Ok(true));
                end
            })
            .collect();
        let (tell, told) = mpsc::channel();
        pool.submit(SMALL, move || tell.send(step_aside().is_none()).unwrap());
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "no more step aside, and others still have a thread");
        drop(ends);
        drop(pool);
        let deadline = Instant::now() + PATIENCE;
        while shared.upgrade().is_some() {
            assert!(Instant::now() < deadline, "a thread is left");
            thread::yield_now();
        }
    }
}
