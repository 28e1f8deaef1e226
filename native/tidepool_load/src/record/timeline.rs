//! The run cut into slots of equal time, for the plots.

use super::Latencies;
use crate::schedule::Schedule;

/// The most slots a timeline has; a longer run has longer slots.
const MAX_SLOTS: u64 = 300;

/// The shortest slot.
const MIN_SLOT_NS: u64 = 100_000_000;

/// Fewer arrivals than this in a slot would show as noise.
const SOME_ARRIVALS: f64 = 20.0;

/// What happened in one slot. Starts and ends count where they happened, latencies where the start was due.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Arrivals due in it.
    pub(crate) asked: u64,
    /// Starts made in it.
    pub(crate) started: u64,
    /// Starts that were completed in it.
    pub(crate) completed: u64,
    /// Starts that failed in it.
    pub(crate) failed: u64,
    /// Latency from the due time, of starts due in it.
    pub(crate) latency: Latencies,
}

impl Slot {
    fn new() -> Slot {
        Slot { asked: 0, started: 0, completed: 0, failed: 0, latency: Latencies::new(2) }
    }
}

/// Slots from the base to the end of the schedule, and a last one for what came after.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    /// How long each slot is.
    pub(crate) slot_ns: u64,
    /// The slots, in order.
    pub(crate) slots: Vec<Slot>,
}

impl Timeline {
    /// An empty timeline for a schedule. A slot of a slow schedule is long enough for some arrivals.
    pub(crate) fn new(schedule: &Schedule) -> Timeline {
        let length_ns = schedule.length_ns();
        let some_ns = (SOME_ARRIVALS * 1e9 / schedule.mean_rate().max(1e-3)) as u64;
        let slot_ns = length_ns.div_ceil(MAX_SLOTS).max(MIN_SLOT_NS).max(some_ns.min(length_ns / 4));
        let count = usize::try_from(length_ns.div_ceil(slot_ns)).unwrap_or(1).max(1) + 1;
        Timeline { slot_ns, slots: vec![Slot::new(); count] }
    }

    /// The slot of a time after the base.
    pub(crate) fn at(&mut self, ns: u64) -> Option<&mut Slot> {
        let last = self.slots.len().checked_sub(1)?;
        let index = usize::try_from(ns / self.slot_ns).unwrap_or(last).min(last);
        self.slots.get_mut(index)
    }

    /// Adds another timeline of the same run.
    pub(crate) fn merge(&mut self, other: &Timeline) {
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            mine.asked += theirs.asked;
            mine.started += theirs.started;
            mine.completed += theirs.completed;
            mine.failed += theirs.failed;
            mine.latency.merge(&theirs.latency);
        }
    }
}
