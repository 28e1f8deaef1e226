//! What is counted of each function, as numbers.

use std::sync::atomic::Ordering;

use super::counters::{FunctionStats, Outcome, Stats, Totals};
use super::latency::BOUNDS_NS;

/// What calls have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFigures {
    /// Calls that ended, by how: as many as there are [`reasons`], in their order.
    pub outcomes: Vec<u64>,
    /// Calls by how long they took: as many as there are [`LATENCY_BOUNDS_NS`], and one more for those that took longer.
    pub latencies: Vec<u64>,
    /// How long they took together, in ns.
    pub latency_ns: u64,
    /// How long their guests computed, in ns.
    pub cpu_ns: u64,
    /// Live instances now, idle ones included.
    pub live: u64,
    /// Their linear memory now, in bytes.
    pub memory_bytes: u64,
}

/// What a function's calls have come to since the node started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionFigures {
    /// The function's name.
    pub name: String,
    /// Those of all its versions.
    pub calls: CallFigures,
    /// Largest linear memory that an instance has had, in bytes.
    pub peak_memory_bytes: u64,
    /// Printed lines that were over the function's budget.
    pub dropped_lines: u64,
    /// Calls that wait at the function's own cap now.
    pub queued: usize,
    /// Idle instances now.
    pub idle: usize,
}

/// How calls end, as `reason` labels of the metrics say it; `ok` is the first.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    Outcome::all().map(Outcome::reason)
}

/// Upper bounds of the buckets of latencies, in ns: eight in an octave.
pub const LATENCY_BOUNDS_NS: [u64; BOUNDS_NS.len()] = BOUNDS_NS;

impl From<Totals> for CallFigures {
    fn from(totals: Totals) -> Self {
        CallFigures {
            outcomes: totals.outcomes.to_vec(),
            latencies: totals.latencies.to_vec(),
            latency_ns: totals.latency_ns,
            cpu_ns: totals.cpu_ns,
            live: totals.live,
            memory_bytes: totals.memory_bytes,
        }
    }
}

/// The figures of all functions that there are; `idle` says how many instances of one are idle.
pub(crate) fn of(stats: &Stats, idle: impl Fn(&str) -> usize) -> Vec<FunctionFigures> {
    stats.snapshot().into_iter().map(|(name, stats)| of_one(name, &stats, &idle)).collect()
}

/// Those of one.
pub(crate) fn of_name(stats: &Stats, name: &str, idle: impl Fn(&str) -> usize) -> Option<FunctionFigures> {
    stats.known(name).map(|stats| of_one(name.to_owned(), &stats, &idle))
}

fn of_one(name: String, stats: &FunctionStats, idle: &impl Fn(&str) -> usize) -> FunctionFigures {
    FunctionFigures {
        calls: stats.totals().into(),
        peak_memory_bytes: stats.peak_memory_bytes.load(Ordering::Relaxed),
        dropped_lines: stats.dropped_lines.load(Ordering::Relaxed),
        queued: stats.queued_at_cap().load(Ordering::Relaxed),
        idle: idle(&name),
        name,
    }
}

/// What the calls of each of a function's last versions have come to, the oldest first.
pub(crate) fn by_version(stats: &Stats, name: &str) -> Vec<(u64, CallFigures)> {
    let versions = stats.known(name).map(|stats| stats.by_version()).unwrap_or_default();
    versions.into_iter().map(|(number, totals)| (number, totals.into())).collect()
}
