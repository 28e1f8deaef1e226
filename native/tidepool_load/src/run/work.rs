//! What a worker is given, and what one start comes to.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::{Clock, Control, Pace, RunPlan};
use crate::record::{Failure, SharedShard};
use crate::schedule::Arrivals;

/// One worker thread's part of a run.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    /// Which one.
    pub(crate) index: usize,
    /// Of how many.
    pub(crate) workers: usize,
    /// The run's clock.
    pub(crate) clock: Clock,
    /// Where it is told to stop.
    pub(crate) control: Arc<Control>,
    /// The run.
    pub(crate) plan: RunPlan,
    /// Its account.
    pub(crate) shard: SharedShard,
}

impl Worker {
    /// The arrivals of this worker.
    pub(crate) fn arrivals(&self) -> Arrivals {
        let schedule = Arc::clone(&self.plan.schedule);
        let (index, workers) = (self.index as u64, self.workers as u64);
        match self.plan.pace {
            Pace::Poisson(seed) => Arrivals::poisson(schedule, index, workers, seed),
            Pace::Even | Pace::Closed(_) => Arrivals::even(schedule, index, workers),
        }
    }

    /// This worker's part of a number that is shared out among all; the parts add up to it.
    pub(crate) fn part_of(&self, whole: usize) -> usize {
        whole / self.workers + usize::from(self.index < whole % self.workers)
    }
}

/// How one start went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// When the exchange itself began, if that is later than the start (a request that waited for a connection).
    pub(crate) began_ns: Option<u64>,
    /// When it ended, if the start went on after that (a connection that was held).
    pub(crate) ended_ns: Option<u64>,
    /// Whether it was good.
    pub(crate) outcome: Result<(), Failure>,
}

impl From<Result<(), Failure>> for Attempt {
    fn from(outcome: Result<(), Failure>) -> Attempt {
        Attempt { began_ns: None, ended_ns: None, outcome }
    }
}

/// What is done for each arrival.
pub(crate) trait Load: 'static {
    /// Does it for arrival `n`, which was started at `start_ns`; always ends.
    fn attempt(self: Rc<Self>, n: u64, start_ns: u64) -> impl Future<Output = Attempt>;
}
