//! How a run goes: workers on their own threads, a base time they share, a live line, an end.
//!
//! A worker starts each of its arrivals when it is due, never because an earlier one has ended. Arrivals it comes to
//! too late are still started, as late as they are; only when the schedule is over for good are the rest given up, and
//! counted as never started.

mod account;
mod clock;
mod control;
mod drive;
mod live;
mod plan;
mod work;

pub(crate) use account::Account;
pub(crate) use clock::Clock;
pub(crate) use control::Control;
pub(crate) use drive::drive;
pub(crate) use plan::{Pace, RunPlan};
pub(crate) use work::{Attempt, Load, Worker};

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::record::SharedShard;

/// How long the workers have to get ready before the first arrival is due.
const READY_IN: Duration = Duration::from_millis(100);

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A worker's runtime could not be had.
    #[error("a worker could not run: {0}")]
    Worker(#[source] io::Error),
    /// A worker panicked.
    #[error("a worker panicked; this is a bug in tidepool-load")]
    Panicked,
}

/// Runs `body` once per worker thread, to the end of the schedule or to `control`'s stop, and sums up.
///
/// # Errors
/// [`RunError`], when a worker could not run at all; failures of single starts are part of the account.
pub(crate) fn execute(
    plan: &RunPlan,
    control: &Arc<Control>,
    body: impl Fn(Worker) -> io::Result<()> + Sync,
) -> Result<Account, RunError> {
    let clock = Clock::starting_in(READY_IN);
    let cpu = account::process_cpu();
    let workers: Vec<Worker> = (0..plan.threads.max(1))
        .map(|index| Worker {
            index,
            workers: plan.threads.max(1),
            clock,
            control: Arc::clone(control),
            plan: plan.clone(),
            shard: SharedShard::new(Arc::clone(&plan.schedule)),
        })
        .collect();
    let shards: Vec<SharedShard> = workers.iter().map(|worker| worker.shard.clone()).collect();
    let ended = std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || body(worker))).collect();
        let mut live = live::LiveLine::new(plan, clock);
        while threads.iter().any(|thread| !thread.is_finished()) {
            live.show(&shards);
            std::thread::park_timeout(live::EVERY);
        }
        live.clear();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => ended.map_err(RunError::Worker),
            Err(_panic) => Err(RunError::Panicked),
        })
    });
    ended?;
    Ok(Account::sum(plan, clock, control, &shards, account::process_cpu().saturating_sub(cpu)))
}
