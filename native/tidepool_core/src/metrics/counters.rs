//! What is counted, of each function and of the node.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidepool_errors::{Mark, Reason};

use super::failure::{FAILURES, Failure};
use super::latency::{self, Latencies};
use super::recent::Recent;
use crate::base::console::{KeptLine, LINES};
use crate::base::error::CallError;
use crate::base::fair_share::{Held, HeldByEngine, NetworkHeld, Sums};
use crate::os::per_thread::Sharded;

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

/// What the versions of a function have counted.
#[derive(Debug, Default)]
struct Versions {
    /// The oldest first.
    kept: Vec<Version>,
    /// Those that are not kept any more, together.
    before: Totals,
}

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

/// Versions whose counts are told apart.
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

    fn merge(&mut self, other: &Totals) {
        let lists = self.outcomes.iter_mut().zip(&other.outcomes);
        let lists = lists.chain(self.responses.iter_mut().zip(&other.responses));
        let lists = lists.chain(self.latencies.iter_mut().zip(&other.latencies));
        let others = [
            (&mut self.latency_ns, &other.latency_ns),
            (&mut self.cpu_ns, &other.cpu_ns),
            (&mut self.live, &other.live),
            (&mut self.memory_bytes, &other.memory_bytes),
            (&mut self.host_bytes, &other.host_bytes),
        ];
        for (total, more) in lists.chain(others) {
            *total = total.wrapping_add(*more);
        }
    }

    /// How many calls ended like this.
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.place()).copied().unwrap_or_default()
    }
}

impl Version {
    fn totals(&self) -> Cow<'_, Totals> {
        match &self.counts {
            Counts::Ended(totals) => Cow::Borrowed(totals),
            Counts::Shared(calls) => {
                let mut totals = Totals::default();
                calls.iter().for_each(|stats| totals.add(stats));
                Cow::Owned(totals)
            }
        }
    }
}

impl Versions {
    /// The counters of a version. Those of versions that have ended take less memory from now on.
    fn of(&mut self, number: u64) -> Arc<Sharded<CallStats>> {
        for version in &mut self.kept {
            // Nobody else can have it again but from here.
            if version.number != number
                && let Counts::Shared(calls) = &version.counts
                && Arc::strong_count(calls) == 1
            {
                version.counts = Counts::Ended(Box::new(version.totals().into_owned()));
            }
        }
        let there = self.kept.iter().position(|version| version.number == number);
        if let Some(Counts::Shared(calls)) = there.and_then(|at| self.kept.get(at)).map(|version| &version.counts) {
            return Arc::clone(calls);
        }
        if let Some(ended) = there.map(|at| self.kept.remove(at)) {
            self.before.merge(&ended.totals());
        }
        while self.kept.len() >= KEPT_VERSIONS
            && let Some(at) = self.kept.iter().position(|version| matches!(version.counts, Counts::Ended(_)))
        {
            let oldest = self.kept.remove(at);
            self.before.merge(&oldest.totals());
        }
        let calls = Arc::<Sharded<CallStats>>::default();
        let at = self.kept.partition_point(|version| version.number < number);
        self.kept.insert(at, Version { number, counts: Counts::Shared(Arc::clone(&calls)) });
        calls
    }
}

impl FunctionStats {
    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that calls count, read once.
    pub(super) fn totals(&self) -> Totals {
        let versions = self.versions();
        let mut totals = versions.before.clone();
        versions.kept.iter().for_each(|version| totals.merge(&version.totals()));
        totals
    }

    /// The same of each of its last versions, the oldest first.
    pub(super) fn by_version(&self) -> Vec<(u64, Totals)> {
        self.versions().kept.iter().map(|version| (version.number, version.totals().into_owned())).collect()
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
    /// Counts one call that ended.
    pub(crate) fn record(&self, outcome: Outcome, latency: Duration, cpu: Duration) {
        let (stats, count) = self.calls.mine_alone();
        if let Some(counter) = stats.outcomes.get(outcome.place()) {
            count.add(counter, 1);
        }
        let latency = nanoseconds(latency);
        stats.latencies.record(latency, count);
        count.add(&stats.latency_ns, latency);
        count.add(&stats.cpu_ns, nanoseconds(cpu));
    }

    /// Counts the response that a call has made, by its status.
    pub(crate) fn record_response(&self, status: u16) {
        let (stats, count) = self.calls.mine_alone();
        if let Some(counter) = stats.responses.get(class(status)) {
            count.add(counter, 1);
        }
    }

    /// Counts an instance that begins.
    pub(crate) fn begin_instance(&self) {
        let (stats, count) = self.calls.mine_alone();
        count.add(&stats.live, 1);
    }

    /// Counts linear memory that an instance has got.
    pub(crate) fn take_memory(&self, bytes: u64) {
        let (stats, count) = self.calls.mine_alone();
        count.add(&stats.memory_bytes, bytes);
    }

    /// Counts what a program has on the host from now on.
    pub(crate) fn hold_on_host(&self, bytes: u64) {
        let (stats, count) = self.calls.mine_alone();
        count.add(&stats.host_bytes, bytes);
    }

    /// Counts what a program has there no more.
    pub(crate) fn release_on_host(&self, bytes: u64) {
        self.hold_on_host(bytes.wrapping_neg());
    }

    /// Counts an instance that ends, and its memory.
    pub(crate) fn end_instance(&self, bytes: u64) {
        let (stats, count) = self.calls.mine_alone();
        count.add(&stats.live, 1_u64.wrapping_neg());
        count.add(&stats.memory_bytes, bytes.wrapping_neg());
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
    /// What guests printed last.
    pub(crate) lines: Arc<Recent<KeptLine, LINES>>,
    /// What failed last.
    pub(crate) failures: Recent<Failure, FAILURES>,
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

/// How deploys end that alerts ask for (`ops/prometheus.rules.yml`): there from the start, so that the first one is an increase.
fn watched() -> impl Iterator<Item = &'static str> {
    let failed = Reason::ALL.iter().filter(|reason| reason.is(Mark::Watched)).map(|reason| reason.name());
    iter::once("ok").chain(failed)
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
        for reason in watched() {
            stats.ended.entry(reason.to_owned()).or_default();
        }
        stats
    }
}

impl Stats {
    /// The counters of a version of the function called `name`.
    pub(crate) fn version(&self, name: &str, number: u64) -> VersionStats {
        let function = self.function(name);
        let calls = function.versions().of(number);
        VersionStats { function, calls }
    }

    fn function(&self, name: &str) -> Arc<FunctionStats> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = functions.get(name).and_then(Weak::upgrade) {
            return stats;
        }
        functions.retain(|_, stats| stats.strong_count() > 0);
        let stats = Arc::new(FunctionStats::default());
        functions.insert(name.to_owned(), Arc::downgrade(&stats));
        stats
    }

    /// The counters of the function called `name`, if it has any.
    pub(super) fn known(&self, name: &str) -> Option<Arc<FunctionStats>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner).get(name).and_then(Weak::upgrade)
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
