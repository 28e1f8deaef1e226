//! What a run is told: when to start what, on how many threads, and within which times.

use std::sync::Arc;
use std::time::Duration;

use crate::schedule::Schedule;

/// When starts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Evenly, by the schedule.
    Even,
    /// By chance, with the schedule's rate as the mean; reproducible by the seed.
    Poisson(u64),
    /// Closed loop: so many at a time, the next when one has ended. Hides queueing.
    Closed(usize),
}

/// What every run has, whatever it sends.
#[derive(Debug, Clone)]
pub(crate) struct RunPlan {
    /// When to start what.
    pub(crate) schedule: Arc<Schedule>,
    /// Open or closed loop.
    pub(crate) pace: Pace,
    /// Worker threads.
    pub(crate) threads: usize,
    /// How long one start may take.
    pub(crate) timeout: Duration,
    /// How long after the end of the schedule late starts are still made.
    pub(crate) catch_up: Duration,
    /// How long a connection stays open after its exchange.
    pub(crate) hold: Duration,
    /// Show the live line.
    pub(crate) live: bool,
}
