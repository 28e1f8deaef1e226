//! The threads of a pool, and the jobs that they do.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::queue::{Job, JobQueue};

/// A thread of this niceness gets a quarter of a busy core (a weight of 335 to 1024), and any thread that wakes up preempts
/// it. A higher one changes nothing for calls, and on busy cores a deploy then takes minutes.
pub(super) const NICE: i32 = 5;
/// Niceness of background jobs: a weight of 110, a third of the others'.
pub(super) const BACKGROUND_NICE: i32 = 10;

thread_local! {
    /// The pool whose job this thread does.
    static POOL: RefCell<Option<Arc<JobQueue>>> = const { RefCell::new(None) };
}

/// The pool whose job the calling thread does.
pub(super) fn pool() -> Option<Arc<JobQueue>> {
    POOL.with_borrow(Option::clone)
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

/// Runs `job` with `threads` threads of its own for rayon's work.
pub(super) fn run(shared: &Arc<JobQueue>, job: Job, threads: usize, nice: i32) {
    let pool = Arc::clone(shared);
    let job = move || within(pool, job);
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

/// Does `job` as one of `pool`.
fn within(pool: Arc<JobQueue>, job: Job) {
    POOL.set(Some(pool));
    // Forgotten when the job unwinds, too: the thread may be one that stays.
    let _forget = Forget;
    job();
}

/// Forgets on drop whose job its thread does.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        POOL.set(None);
    }
}
