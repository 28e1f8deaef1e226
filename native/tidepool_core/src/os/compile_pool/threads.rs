//! The threads of a pool, and the jobs that they do.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::queue::JobQueue;
use super::turns::{Job, Owner};

/// A thread of this niceness gets a quarter of a busy core (a weight of 335 to 1024), and any thread that wakes up preempts
/// it. A higher one changes nothing for calls, and on busy cores a deploy then takes minutes.
pub(super) const NICE: i32 = 5;
/// Niceness of background jobs: a weight of 110, a third of the others'.
pub(super) const BACKGROUND_NICE: i32 = 10;

thread_local! {
    /// The pool whose job this thread does, and whose that is, where it may step aside.
    static CURRENT: RefCell<Option<(Arc<JobQueue>, Owner)>> = const { RefCell::new(None) };
}

/// The pool whose job the calling thread does, and whose that is.
pub(super) fn current() -> Option<(Arc<JobQueue>, Owner)> {
    CURRENT.with_borrow(Option::clone)
}

// Never joined: the pool may be dropped by the last job, on its own thread.
pub(super) fn spawn(
    shared: Arc<JobQueue>,
    nice: i32,
    work: impl FnOnce(&Arc<JobQueue>) + Send + 'static,
) -> std::io::Result<()> {
    thread::Builder::new().name("tidepool-compile".into()).spawn(move || {
        lower_priority(nice);
        work(&shared);
    })?;
    Ok(())
}

/// Runs `job` of this owner with `threads` threads of its own for rayon's work.
pub(super) fn run(shared: &Arc<JobQueue>, owner: &Owner, job: Job, threads: usize, nice: i32) {
    // What is done in the background has none of the threads that deploys wait for.
    let current = (nice == NICE).then(|| (Arc::clone(shared), Arc::clone(owner)));
    let job = move || within(current, job);
    // A job reports its own outcome, even when it unwinds.
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

/// Does `job` as one of a pool's, if it may step aside.
fn within(current: Option<(Arc<JobQueue>, Owner)>, job: Job) {
    CURRENT.set(current);
    // Forgotten when the job unwinds, too: the thread may be one that stays.
    let _forget = Forget;
    job();
}

/// Forgets on drop whose job its thread does.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
