//! What is counted, of each function and of the node.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::base::error::CallError;
use crate::os::per_thread::{Count, Sharded};

/// Upper bounds of the latency histogram's buckets, in µs.
pub(super) const BUCKETS_US: [u64; 20] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// How a call ended, as the metrics' `reason` label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Guest,
    Trap,
    Limit,
    Timeout,
    Overloaded,
    Internal,
    /// The caller died or gave up.
    Aborted,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 8] = [
        Outcome::Ok,
        Outcome::Guest,
        Outcome::Trap,
        Outcome::Limit,
        Outcome::Timeout,
        Outcome::Overloaded,
        Outcome::Internal,
        Outcome::Aborted,
    ];

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Guest => "guest_error",
            Outcome::Trap => "trap",
            Outcome::Limit => "limit",
            Outcome::Timeout => "timeout",
            Outcome::Overloaded => "overloaded",
            Outcome::Internal => "internal",
            Outcome::Aborted => "aborted",
        }
    }
}

impl<T> From<&Result<T, CallError>> for Outcome {
    fn from(result: &Result<T, CallError>) -> Self {
        match result {
            Ok(_) => Outcome::Ok,
            Err(CallError::Guest { .. }) => Outcome::Guest,
            Err(CallError::Trap { .. }) => Outcome::Trap,
            Err(CallError::Limit { .. }) => Outcome::Limit,
            Err(CallError::Timeout) => Outcome::Timeout,
            Err(CallError::Overloaded { .. }) => Outcome::Overloaded,
            // The last ones are refusals of what has not begun, and are not counted.
            Err(CallError::Internal { .. } | CallError::InstanceBusy | CallError::InstanceSpent)
            | Err(CallError::NoProgram { .. } | CallError::Image { .. }) => Outcome::Internal,
        }
    }
}

/// Counters of one function, shared by its versions.
#[derive(Debug, Default)]
pub(crate) struct FunctionStats {
    calls: Sharded<CallStats>,
    pub(super) peak_memory_bytes: AtomicU64,
    pub(super) dropped_lines: AtomicU64,
    queued_at_cap: AtomicUsize,
}

/// What all calls have counted.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) outcomes: [u64; Outcome::ALL.len()],
    pub(super) latency: [u64; BUCKETS_US.len() + 1],
    pub(super) latency_ns: u64,
    pub(super) cpu_ns: u64,
}

/// What each call counts.
#[derive(Debug, Default)]
struct CallStats {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    latency: [AtomicU64; BUCKETS_US.len() + 1],
    latency_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

impl FunctionStats {
    /// Counts one call that ended.
    pub(crate) fn record(&self, outcome: Outcome, latency: Duration, cpu: Duration) {
        let (stats, count) = self.calls.mine_alone();
        increment(stats.outcomes.get(outcome as usize), count);
        let latency = nanoseconds(latency);
        // Most calls are in the first buckets.
        let bucket = BUCKETS_US.iter().position(|bound| latency <= bound.saturating_mul(1_000));
        increment(stats.latency.get(bucket.unwrap_or(BUCKETS_US.len())), count);
        count.add(&stats.latency_ns, latency);
        count.add(&stats.cpu_ns, nanoseconds(cpu));
    }

    pub(crate) fn record_memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Most calls find their size there already: a load is cheaper than a contended maximum.
        if self.peak_memory_bytes.load(Ordering::Relaxed) < bytes {
            self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// How many calls ended like this.
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.sum(|stats| stats.outcomes.get(outcome as usize))
    }

    /// The counts of the latency histogram's buckets.
    pub(super) fn latencies(&self) -> impl Iterator<Item = u64> {
        (0..=BUCKETS_US.len()).map(|bucket| self.sum(|stats| stats.latency.get(bucket)))
    }

    pub(super) fn latency_ns(&self) -> u64 {
        self.sum(|stats| Some(&stats.latency_ns))
    }

    pub(super) fn cpu_ns(&self) -> u64 {
        self.sum(|stats| Some(&stats.cpu_ns))
    }

    /// All that calls count, read once.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stats in self.calls.iter() {
            let pairs = totals.outcomes.iter_mut().zip(&stats.outcomes);
            let pairs = pairs.chain(totals.latency.iter_mut().zip(&stats.latency));
            let times = [(&mut totals.latency_ns, &stats.latency_ns), (&mut totals.cpu_ns, &stats.cpu_ns)];
            for (total, count) in pairs.chain(times) {
                *total = total.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        totals
    }

    fn sum(&self, counter: impl Fn(&CallStats) -> Option<&AtomicU64>) -> u64 {
        self.calls.iter().filter_map(counter).map(|count| count.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Calls that wait at the cap of the function, of all its versions.
    pub(crate) fn queued_at_cap(&self) -> &AtomicUsize {
        &self.queued_at_cap
    }

    pub(crate) fn count_dropped_line(&self) {
        self.dropped_lines.fetch_add(1, Ordering::Relaxed);
    }
}

fn increment(counter: Option<&AtomicU64>, count: Count) {
    if let Some(counter) = counter {
        count.add(counter, 1);
    }
}

/// 584 years fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The counters of all functions of a runtime. A function's go when its last version is dropped.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    functions: Mutex<HashMap<String, Weak<FunctionStats>>>,
    pub(super) compiles: AtomicU64,
    pub(super) compile_ns: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(crate) deploys: Deploys,
}

/// Upper bounds of the buckets of deploys, in ms.
pub(super) const DEPLOY_BUCKETS_MS: [u64; 13] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// What deploys have come to.
#[derive(Debug, Default)]
pub(crate) struct Deploys(Mutex<DeployStats>);

#[derive(Debug, Default, Clone)]
pub(super) struct DeployStats {
    /// By reason.
    pub(super) ended: BTreeMap<String, u64>,
    pub(super) durations: [u64; DEPLOY_BUCKETS_MS.len() + 1],
    pub(super) ns: u64,
}

impl Deploys {
    pub(crate) fn record(&self, reason: &str, took: Duration) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = stats.ended.entry(reason.to_owned()).or_default();
        *ended = ended.saturating_add(1);
        let bucket = DEPLOY_BUCKETS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(count) = stats.durations.get_mut(bucket.unwrap_or(DEPLOY_BUCKETS_MS.len())) {
            *count = count.saturating_add(1);
        }
        stats.ns = stats.ns.saturating_add(nanoseconds(took));
    }

    pub(super) fn snapshot(&self) -> DeployStats {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // There from the start, so that the first deploy is an increase.
        stats.ended.entry("ok".to_owned()).or_default();
        stats
    }
}

impl Stats {
    /// The counters of the function called `name`.
    pub(crate) fn function(&self, name: &str) -> Arc<FunctionStats> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = functions.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        functions.retain(|_, stats| stats.strong_count() > 0);
        let stats = Arc::new(FunctionStats::default());
        functions.insert(name.to_owned(), Arc::downgrade(&stats));
        stats
    }

    pub(crate) fn count_compile(&self, took: Duration) {
        self.compiles.fetch_add(1, Ordering::Relaxed);
        self.compile_ns.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    /// Counts a module that was not compiled, for the cache had it.
    pub(crate) fn count_cached(&self) {
        self.cached.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Vec<(String, Arc<FunctionStats>)> {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            functions.iter().filter_map(|(name, stats)| Some((name.clone(), stats.upgrade()?))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}
