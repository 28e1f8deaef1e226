//! Jobs that take long for something other than compiling, and the threads that serve in their place.

use std::sync::Arc;

use super::queue::{JobQueue, State};
use super::threads::{NICE, current, run, spawn};
use super::turns::Owner;

/// A job that has stepped aside; it is back on drop.
pub(crate) struct Aside(Arc<JobQueue>, Served);

/// What is served in its place.
enum Served {
    /// Small modules. It is a job of this owner.
    Small(Owner),
    /// Modules of other owners.
    Others,
}

/// Starts a thread that serves small modules while the calling job goes on: for jobs whose duration their deployer decides.
/// `None` outside of a pool's jobs, when too many have stepped aside, and when the system gives no thread.
pub(crate) fn step_aside() -> Option<Aside> {
    let (shared, owner) = current()?;
    if !shared.state().step_aside(&owner) {
        return None;
    }
    let serve = |shared: &Arc<JobQueue>| {
        while let Some(job) = shared.next_small(State::is_place_back) {
            run(shared, &job.owner, job.job, 1, NICE);
        }
    };
    if spawn(Arc::clone(&shared), NICE, serve).is_err() {
        shared.state().not_replaced(&owner);
        shared.changed.notify_all();
        return None;
    }
    // Who may begin is another question now.
    shared.changed.notify_all();
    Some(Aside(shared, Served::Small(owner)))
}

/// The same for a job with a large module: the thread serves modules of any size, of all owners but that of the job. So who has all threads,
/// and has each for as long as a compiler may take, holds up its own modules alone. `None` while another has left others a thread, too, since
/// compilers of large modules take much memory.
pub(crate) fn leave_to_others() -> Option<Aside> {
    let (shared, owner) = current()?;
    let number = shared.state().leave_to_others(&owner)?;
    let serve = move |shared: &Arc<JobQueue>| {
        while let Some(job) = shared.next_of_others(number) {
            run(shared, &job.owner, job.job, 1, NICE);
            shared.changed.notify_all();
        }
    };
    if spawn(Arc::clone(&shared), NICE, serve).is_err() {
        shared.state().none_serves_others();
        return None;
    }
    // Who may begin is another question now.
    shared.changed.notify_all();
    Some(Aside(shared, Served::Others))
}

impl Drop for Aside {
    fn drop(&mut self) {
        match &self.1 {
            Served::Small(owner) => self.0.state().back(owner),
            Served::Others => self.0.state().long_is_back(),
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::pool::CompilePool;
    use super::super::pool::tests::end as threads_end;
    use super::super::queue::{MAX_ASIDE, MAX_ASIDE_OF_ONE};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SMALL: usize = 1 << 10;
    const LARGE: usize = 2 << 20;

    /// A job that has stepped aside, and ends when it may.
    fn aside(pool: &CompilePool, owner: &str) -> mpsc::Sender<()> {
        let (end, may_end) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        pool.submit(owner, SMALL, move || {
            let stepped = step_aside();
            tell.send(stepped.is_some()).unwrap();
            let _ = may_end.recv();
        });
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
        end
    }

    #[test]
    fn small_modules_do_not_wait_for_jobs_that_have_stepped_aside_and_their_threads_go_when_those_are_back() {
        let pool = CompilePool::spawn(1).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        // As many as there are threads, and those that have come in their place.
        let owners = ["shop", "blog"].into_iter().cycle();
        let ends: Vec<_> = owners.take(MAX_ASIDE).map(|owner| aside(&pool, owner)).collect();
        let (tell, told) = mpsc::channel();
        pool.submit("mail", SMALL, move || tell.send(step_aside().is_none()).unwrap());
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "no more step aside, and others still have a thread");
        drop(ends);
        drop(pool);
        threads_end(&shared);
    }

    #[test]
    fn large_modules_of_others_do_not_wait_for_a_large_one_that_takes_long_and_those_of_its_owner_do() {
        let pool = CompilePool::spawn(1).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        let (end, may_end) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let left = tell.clone();
        pool.submit("shop", LARGE, move || {
            let aside = leave_to_others();
            left.send(if aside.is_some() { "left" } else { "not left" }).unwrap();
            let _ = may_end.recv();
        });
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        for owner in ["shop", "blog", "blog"] {
            let tell = tell.clone();
            pool.submit(owner, LARGE, move || {
                tell.send(if leave_to_others().is_some() { "left" } else { owner }).unwrap();
            });
        }
        assert_eq!([told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)], [Ok("blog"), Ok("blog")]);
        assert!(told.try_recv().is_err());
        assert_eq!(pool.queued(), 1);
        drop(end);
        // It is begun once that is back, and may leave others a thread as well.
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        drop(pool);
        threads_end(&shared);
    }

    #[test]
    fn a_job_that_was_begun_for_others_and_takes_long_itself_leaves_them_a_thread_as_well() {
        let pool = CompilePool::spawn(1).unwrap();
        let shared = Arc::downgrade(&pool.shared);
        let (tell, told) = mpsc::channel();
        // A job that tells whether it has left others a thread, each time that it is asked, until it may end.
        let long = |owner: &'static str| {
            let (ask, asked) = mpsc::channel::<()>();
            let tell = tell.clone();
            pool.submit(owner, LARGE, move || {
                let mut left = None;
                while asked.recv().is_ok() {
                    left = left.or_else(leave_to_others);
                    tell.send(if left.is_some() { "left" } else { "not left" }).unwrap();
                }
            });
            ask
        };
        let first = long("shop");
        first.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
        // On the thread that serves others; as long as the first takes, no other leaves them one.
        let second = long("blog");
        second.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("not left"));
        drop(first);
        // The pool's own thread is free again, and what it begins takes long, too.
        let third = long("blog");
        loop {
            second.send(()).unwrap();
            if told.recv_timeout(PATIENCE) == Ok("left") {
                break;
            }
        }
        third.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("not left"));
        let tell_other = tell.clone();
        pool.submit("mail", LARGE, move || tell_other.send("mail").unwrap());
        assert_eq!(told.recv_timeout(PATIENCE), Ok("mail"));
        drop((second, third));
        drop(pool);
        threads_end(&shared);
    }

    #[test]
    fn a_background_job_has_no_thread_in_its_place() {
        let pool = CompilePool::spawn(1).unwrap();
        let (tell, told) = mpsc::channel();
        pool.submit_background("shop", LARGE, move || {
            tell.send(step_aside().is_none() && leave_to_others().is_none()).unwrap();
        });
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    }

    #[test]
    fn an_owner_whose_jobs_have_stepped_aside_has_no_other_begun_until_one_is_back_and_others_have() {
        let pool = CompilePool::spawn(1).unwrap();
        let mut ends: Vec<_> = (0..MAX_ASIDE_OF_ONE).map(|_| aside(&pool, "shop")).collect();
        let (tell, told) = mpsc::channel();
        for owner in ["shop", "shop", "blog", "blog"] {
            let tell = tell.clone();
            pool.submit(owner, SMALL, move || tell.send(owner).unwrap());
        }
        pool.submit_brought("shop", SMALL, || ());
        assert_eq!([told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)], [Ok("blog"), Ok("blog")]);
        let (background, told_background) = mpsc::channel();
        pool.submit_background("blog", SMALL, move || background.send(()).unwrap());
        assert_eq!(told_background.recv_timeout(PATIENCE), Ok(()), "what may not begin holds up nothing");
        assert_eq!(pool.queued(), 3);
        assert!(told.try_recv().is_err());
        ends.pop();
        assert_eq!([told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)], [Ok("shop"), Ok("shop")]);
    }
}
