//! What is counted, of each function and of the node.

use std::collections::HashMap;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidepool_errors::Reason;

use super::deploys::Deploys;
use super::failure::{FAILURES, Failure};
use super::latency::{self, Latencies, nanoseconds};
use super::recent::Recent;
use crate::base::console::{KeptLine, LINES};
use crate::base::error::CallError;
use crate::base::fair_share::{Held, HeldByEngine, NetworkHeld, Sums};
use crate::os::per_thread::{Count, Sharded};

/// How a call ended, as the metrics' `reason` label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// With an error that the table of errors counts as this one.
    Failed(Reason),
    /// The caller died or gave up.
    Aborted,
}

/// How many outcomes there are.
const OUTCOMES: usize = Reason::OUTCOMES.len() + 2;

impl Outcome {
    /// All of them, in the order in which they are counted.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let failed = Reason::OUTCOMES.iter().copied().map(Outcome::Failed);
        iter::once(Outcome::Ok).chain(failed).chain(iter::once(Outcome::Aborted))
    }

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed(reason) => reason.name(),
            Outcome::Aborted => "aborted",
        }
    }

    /// Its place among all.
    fn place(self) -> usize {
        match self {
            Outcome::Ok => 0,
            failed => Outcome::all().position(|outcome| outcome == failed).unwrap_or(OUTCOMES),
        }
    }
}

impl From<&CallError> for Outcome {
    /// A reason that no call is counted as is a failure all the same.
    fn from(error: &CallError) -> Self {
        if matches!(error, CallError::ClientGone) {
            return Outcome::Aborted;
        }
        Outcome::Failed(error.reason().outcome().unwrap_or(Reason::Internal))
    }
}

impl<T> From<&Result<T, CallError>> for Outcome {
    fn from(result: &Result<T, CallError>) -> Self {
        result.as_ref().map_or_else(Outcome::from, |_| Outcome::Ok)
    }
}

/// Classes of the statuses of responses, as the metrics' `status` label says them. No guest responds with one of the first.
pub(super) const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "other"];

/// The place of a status among the classes.
fn class(status: u16) -> usize {
    match status {
        200..=599 => usize::from(status / 100 - 2),
        _ => CLASSES.len() - 1,
    }
}

/// Counters of one function, shared by its versions.
#[derive(Debug, Default)]
pub(crate) struct FunctionStats {
    /// What calls of all its versions have counted: as many of these may be had by somebody as there is room for their code, and who
    /// asks for the sum looks at none of them.
    calls: Sharded<CallStats>,
    /// One of its versions handles requests of HTTP, or did.
    pub(super) responds: AtomicBool,
    versions: Mutex<Versions>,
    pub(super) peak_memory_bytes: AtomicU64,
    pub(super) dropped_lines: AtomicU64,
    queued_at_cap: AtomicUsize,
    /// Bytes that the code of its versions takes.
    pub(crate) code: Arc<Held>,
    /// Stacks that its instances have beside their own.
    pub(crate) stacks: HeldByEngine,
    /// What its programs and components have of the network.
    pub(crate) network: NetworkHeld,
    /// What else its programs have that is told by its number.
    pub(crate) numbers: Sums,
    /// Processes that live of its programs.
    processes: Arc<AtomicUsize>,
    /// Versions before this one were removed with the function: who still runs one is not of the function that has the name now.
    first_kept: AtomicU64,
}

/// What each of a function's last versions has counted, whoever has others; the oldest first.
#[derive(Debug, Default)]
struct Versions(Vec<Version>);

#[derive(Debug)]
struct Version {
    number: u64,
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    /// Of a version that has calls or instances, or had them until a short time ago.
    Shared(Arc<Sharded<CallStats>>),
    Ended(Box<Totals>),
}

/// Versions whose counts are told apart: the last ones.
const KEPT_VERSIONS: usize = 10;

/// Counters of one version of a function.
#[derive(Debug, Default)]
pub(crate) struct VersionStats {
    pub(crate) function: Arc<FunctionStats>,
    calls: Arc<Sharded<CallStats>>,
}

/// What all calls have counted.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    pub(super) outcomes: [u64; OUTCOMES],
    pub(super) responses: [u64; CLASSES.len()],
    pub(super) latencies: [u64; latency::BUCKETS],
    pub(super) latency_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) live: u64,
    pub(super) memory_bytes: u64,
    pub(super) host_bytes: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            outcomes: Default::default(),
            responses: Default::default(),
            latencies: [0; latency::BUCKETS],
            latency_ns: 0,
            cpu_ns: 0,
            live: 0,
            memory_bytes: 0,
            host_bytes: 0,
        }
    }
}

/// What each call and each instance counts.
#[derive(Debug, Default)]
struct CallStats {
    outcomes: [AtomicU64; OUTCOMES],
    responses: [AtomicU64; CLASSES.len()],
    latencies: Latencies,
    latency_ns: AtomicU64,
    cpu_ns: AtomicU64,
    /// What begins on one thread may end on another: the sum of all threads is what there is.
    live: AtomicU64,
    memory_bytes: AtomicU64,
    /// What programs have on the host.
    host_bytes: AtomicU64,
}

impl Totals {
    /// What all threads have counted.
    fn of(calls: &Sharded<CallStats>) -> Self {
        let mut totals = Totals::default();
        calls.iter().for_each(|stats| totals.add(stats));
        totals
    }

    fn add(&mut self, stats: &CallStats) {
        stats.latencies.add_to(&mut self.latencies);
        let outcomes = self.outcomes.iter_mut().zip(&stats.outcomes);
        let others = [
            (&mut self.latency_ns, &stats.latency_ns),
            (&mut self.cpu_ns, &stats.cpu_ns),
            (&mut self.live, &stats.live),
            (&mut self.memory_bytes, &stats.memory_bytes),
            (&mut self.host_bytes, &stats.host_bytes),
        ];
        let responses = self.responses.iter_mut().zip(&stats.responses);
        for (total, count) in outcomes.chain(responses).chain(others) {
            *total = total.wrapping_add(count.load(Ordering::Relaxed));
        }
    }

    /// How many calls ended like this.
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.place()).copied().unwrap_or_default()
    }
}

impl Version {
    fn totals(&self) -> Totals {
        match &self.counts {
            Counts::Ended(totals) => Totals::clone(totals),
            Counts::Shared(calls) => Totals::of(calls),
        }
    }
}

impl Versions {
    /// The counters of a version. Those of versions that have ended take less memory from now on. What is older than all that are told
    /// apart counts for its function alone.
    fn of(&mut self, number: u64) -> Arc<Sharded<CallStats>> {
        for version in &mut self.0 {
            // Nobody else can have it again but from here.
            if version.number != number
                && let Counts::Shared(calls) = &version.counts
                && Arc::strong_count(calls) == 1
            {
                version.counts = Counts::Ended(Box::new(version.totals()));
            }
        }
        let there = self.0.iter().find(|version| version.number == number);
        if let Some(Counts::Shared(calls)) = there.map(|version| &version.counts) {
            return Arc::clone(calls);
        }
        // One that has ended and is there again counts anew.
        self.0.retain(|version| version.number != number);
        let calls = Arc::<Sharded<CallStats>>::default();
        let at = self.0.partition_point(|version| version.number < number);
        self.0.insert(at, Version { number, counts: Counts::Shared(Arc::clone(&calls)) });
        if self.0.len() > KEPT_VERSIONS {
            self.0.remove(0);
        }
        calls
    }
}

impl FunctionStats {
    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that calls count, read once.
    pub(super) fn totals(&self) -> Totals {
        Totals::of(&self.calls)
    }

    /// The same of each of its last versions, the oldest first.
    pub(super) fn by_version(&self) -> Vec<(u64, Totals)> {
        self.versions().0.iter().map(|version| (version.number, version.totals())).collect()
    }

    /// How many processes live of the programs of all its versions.
    pub(crate) fn processes(&self) -> &Arc<AtomicUsize> {
        &self.processes
    }

    /// Notes that it handles requests of HTTP.
    pub(crate) fn handle_http(&self) {
        self.responds.store(true, Ordering::Relaxed);
    }

    /// Calls that wait at the cap of the function or of its namespace, of all its versions.
    pub(crate) fn queued_at_cap(&self) -> &AtomicUsize {
        &self.queued_at_cap
    }

    /// Notes that this version is removed, and with it all before it.
    pub(crate) fn remove(&self, version: u64) {
        self.first_kept.fetch_max(version.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn is_removed(&self, version: u64) -> bool {
        version < self.first_kept.load(Ordering::Relaxed)
    }

    pub(crate) fn count_dropped_line(&self) {
        self.dropped_lines.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn record_memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Most calls find their size there already: a load is cheaper than a contended maximum.
        if self.peak_memory_bytes.load(Ordering::Relaxed) < bytes {
            self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
    }
}

impl VersionStats {
    /// What the calling thread counts in, of the version and of its function, and how it may.
    fn mine(&self) -> [(&CallStats, Count); 2] {
        [self.calls.mine_alone(), self.function.calls.mine_alone()]
    }

    /// Counts one call that ended.
    pub(crate) fn record(&self, outcome: Outcome, latency: Duration, cpu: Duration) {
        let (place, latency, cpu) = (outcome.place(), nanoseconds(latency), nanoseconds(cpu));
        for (stats, count) in self.mine() {
            if let Some(counter) = stats.outcomes.get(place) {
                count.add(counter, 1);
            }
            stats.latencies.record(latency, count);
            count.add(&stats.latency_ns, latency);
            count.add(&stats.cpu_ns, cpu);
        }
    }

    /// Counts the response that a call has made, by its status.
    pub(crate) fn record_response(&self, status: u16) {
        for (stats, count) in self.mine() {
            if let Some(counter) = stats.responses.get(class(status)) {
                count.add(counter, 1);
            }
        }
    }

    /// Counts an instance that begins.
    pub(crate) fn begin_instance(&self) {
        self.mine().iter().for_each(|(stats, count)| count.add(&stats.live, 1));
    }

    /// Counts linear memory that an instance has got.
    pub(crate) fn take_memory(&self, bytes: u64) {
        self.mine().iter().for_each(|(stats, count)| count.add(&stats.memory_bytes, bytes));
    }

    /// Counts what a program has on the host from now on.
    pub(crate) fn hold_on_host(&self, bytes: u64) {
        self.mine().iter().for_each(|(stats, count)| count.add(&stats.host_bytes, bytes));
    }

    /// Counts what a program has there no more.
    pub(crate) fn release_on_host(&self, bytes: u64) {
        self.hold_on_host(bytes.wrapping_neg());
    }

    /// Counts an instance that ends, and its memory.
    pub(crate) fn end_instance(&self, bytes: u64) {
        for (stats, count) in self.mine() {
            count.add(&stats.live, 1_u64.wrapping_neg());
            count.add(&stats.memory_bytes, bytes.wrapping_neg());
        }
    }
}

/// The counters of all functions of a runtime. A function's go when its last version is dropped.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    functions: Mutex<Functions>,
    pub(super) compiles: AtomicU64,
    pub(super) compile_ns: AtomicU64,
    pub(super) cached: AtomicU64,
    pub(crate) deploys: Deploys,
    /// What guests printed last.
    pub(crate) lines: Arc<Recent<KeptLine, LINES>>,
    /// What failed last.
    pub(crate) failures: Recent<Failure, FAILURES>,
}

/// Those of functions by their names.
#[derive(Debug, Default)]
struct Functions {
    by_name: HashMap<String, Weak<FunctionStats>>,
    /// How many names there were when those that are gone were last taken out.
    swept: usize,
}

impl Functions {
    /// Takes out those that are gone when as many names have come as there were: the first deploy of a name looks at a few others on the
    /// whole, however many there are.
    fn sweep(&mut self) {
        if self.by_name.len() > self.swept.saturating_mul(2).saturating_add(SPARE_NAMES) {
            self.by_name.retain(|_, stats| stats.strong_count() > 0);
            self.swept = self.by_name.len();
        }
    }
}

/// So many names may be of functions that are gone, beside as many as there are.
const SPARE_NAMES: usize = 64;

impl Stats {
    /// The counters of a version of the function called `name`.
    pub(crate) fn version(&self, name: &str, number: u64) -> VersionStats {
        let function = self.function(name);
        let calls = function.versions().of(number);
        VersionStats { function, calls }
    }

    fn functions(&self) -> MutexGuard<'_, Functions> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn function(&self, name: &str) -> Arc<FunctionStats> {
        let mut functions = self.functions();
        if let Some(stats) = functions.by_name.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        functions.sweep();
        let stats = Arc::new(FunctionStats::default());
        functions.by_name.insert(name.to_owned(), Arc::downgrade(&stats));
        stats
    }

    /// The counters of the function called `name`, if it has any.
    pub(super) fn known(&self, name: &str) -> Option<Arc<FunctionStats>> {
        self.functions().by_name.get(name).and_then(Weak::upgrade)
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
        let there = |(name, stats): (&String, &Weak<FunctionStats>)| Some((name.clone(), stats.upgrade()?));
        let mut all: Vec<_> = self.functions().by_name.iter().filter_map(there).collect();
        // Not under the lock, which each deploy takes.
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
