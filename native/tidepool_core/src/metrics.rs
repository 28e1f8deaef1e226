//! What is counted, per function and per node, and its Prometheus text.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::error::CallError;
use crate::runtime::EngineFigures;
use crate::shard::Sharded;

/// Upper bounds of the latency histogram's buckets, in µs.
const BUCKETS_US: [u64; 20] = [
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
    const ALL: [Outcome; 8] = [
        Outcome::Ok,
        Outcome::Guest,
        Outcome::Trap,
        Outcome::Limit,
        Outcome::Timeout,
        Outcome::Overloaded,
        Outcome::Internal,
        Outcome::Aborted,
    ];

    fn reason(self) -> &'static str {
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
            Err(CallError::Internal { .. }) => Outcome::Internal,
        }
    }
}

/// Counters of one function, shared by its versions.
#[derive(Debug, Default)]
pub(crate) struct FunctionStats {
    calls: Sharded<CallStats>,
    peak_memory_bytes: AtomicU64,
    dropped_lines: AtomicU64,
    queued_at_cap: AtomicUsize,
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
        let stats = self.calls.mine();
        increment(stats.outcomes.get(outcome as usize));
        let latency = nanoseconds(latency);
        // Most calls are in the first buckets.
        let bucket = BUCKETS_US.iter().position(|bound| latency <= bound.saturating_mul(1_000));
        increment(stats.latency.get(bucket.unwrap_or(BUCKETS_US.len())));
        stats.latency_ns.fetch_add(latency, Ordering::Relaxed);
        stats.cpu_ns.fetch_add(nanoseconds(cpu), Ordering::Relaxed);
    }

    pub(crate) fn record_memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Most calls find their size there already: a load is cheaper than a contended maximum.
        if self.peak_memory_bytes.load(Ordering::Relaxed) < bytes {
            self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// How many calls ended like this.
    fn count(&self, outcome: Outcome) -> u64 {
        self.sum(|stats| stats.outcomes.get(outcome as usize))
    }

    /// The counts of the latency histogram's buckets.
    fn latencies(&self) -> impl Iterator<Item = u64> {
        (0..=BUCKETS_US.len()).map(|bucket| self.sum(|stats| stats.latency.get(bucket)))
    }

    fn latency_ns(&self) -> u64 {
        self.sum(|stats| Some(&stats.latency_ns))
    }

    fn cpu_ns(&self) -> u64 {
        self.sum(|stats| Some(&stats.cpu_ns))
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

fn increment(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
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
    compiles: AtomicU64,
    compile_ns: AtomicU64,
    cached: AtomicU64,
    pub(crate) deploys: Deploys,
}

/// Upper bounds of the buckets of deploys, in ms.
const DEPLOY_BUCKETS_MS: [u64; 13] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// What deploys have come to.
#[derive(Debug, Default)]
pub(crate) struct Deploys(Mutex<DeployStats>);

#[derive(Debug, Default, Clone)]
struct DeployStats {
    /// By reason.
    ended: BTreeMap<String, u64>,
    durations: [u64; DEPLOY_BUCKETS_MS.len() + 1],
    ns: u64,
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

    fn snapshot(&self) -> DeployStats {
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

    fn snapshot(&self) -> Vec<(String, Arc<FunctionStats>)> {
        let functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            functions.iter().filter_map(|(name, stats)| Some((name.clone(), stats.upgrade()?))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// A figure of the moment that somebody else knows: name, help text, value.
pub type Gauge = (String, String, i64);

/// The same of each function: name, help text, and the values by the function's name.
pub type GaugeByFunction = (String, String, Vec<(String, i64)>);

/// The metrics as OpenMetrics text, which Prometheus reads; `gauges` are added as they are.
///
/// # Errors
/// Fails only if the text can't be formatted.
pub(crate) fn render(
    stats: &Stats,
    engines: Vec<EngineFigures>,
    gauges: Vec<Gauge>,
    by_function: Vec<GaugeByFunction>,
) -> Result<String, fmt::Error> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Snapshot {
        functions: stats.snapshot(),
        compiles: stats.compiles.load(Ordering::Relaxed),
        compile_ns: stats.compile_ns.load(Ordering::Relaxed),
        engines,
        cached: stats.cached.load(Ordering::Relaxed),
        deploys: stats.deploys.snapshot(),
        gauges,
        by_function,
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    functions: Vec<(String, Arc<FunctionStats>)>,
    compiles: u64,
    compile_ns: u64,
    engines: Vec<EngineFigures>,
    cached: u64,
    deploys: DeployStats,
    gauges: Vec<Gauge>,
    by_function: Vec<GaugeByFunction>,
}

mod encode {
    //! The snapshot in prometheus-client's terms.

    use std::fmt;
    use std::sync::atomic::Ordering;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::registry::Unit;

    use super::{BUCKETS_US, DEPLOY_BUCKETS_MS, Outcome, Snapshot};
    use crate::runtime::EngineFigures;

    impl Collector for Snapshot {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            self.outcomes(&mut encoder)?;
            self.latencies(&mut encoder)?;
            self.cpu_times(&mut encoder)?;
            self.peak_memories(&mut encoder)?;
            self.dropped_lines(&mut encoder)?;
            encoder
                .encode_descriptor("tidepool_compiles", "Modules compiled", None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&self.compiles, None)?;
            encoder
                .encode_descriptor(
                    "tidepool_compile",
                    "Time spent compiling modules",
                    Some(&Unit::Seconds),
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, _, u64>(&seconds(self.compile_ns), None)?;
            self.engines(&mut encoder)?;
            encoder
                .encode_descriptor(
                    "tidepool_compiles_cached",
                    "Modules whose compiled code was taken from the cache",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, _, u64>(&self.cached, None)?;
            self.queues(&mut encoder)?;
            self.deploys(&mut encoder)?;
            for (name, help, value) in &self.gauges {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)?;
            }
            for (name, help, values) in &self.by_function {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                for (function, value) in values {
                    family.encode_family(&[("function", function.as_str())])?.encode_gauge(value)?;
                }
            }
            Ok(())
        }
    }

    impl Snapshot {
        fn outcomes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family =
                encoder.encode_descriptor("tidepool_calls", "Calls that ended, by how", None, MetricType::Counter)?;
            for (name, stats) in &self.functions {
                for outcome in Outcome::ALL {
                    let count = stats.count(outcome);
                    if count > 0 || outcome == Outcome::Ok {
                        let labels = [("function", name.as_str()), ("reason", outcome.reason())];
                        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                    }
                }
            }
            Ok(())
        }

        fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_call_latency",
                "Time from a call's start to its end",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?;
            for (name, stats) in &self.functions {
                let counts = stats.latencies();
                let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
                let total = buckets.iter().map(|(_, count)| count).sum();
                let sum = seconds(stats.latency_ns());
                family
                    .encode_family(&[("function", name.as_str())])?
                    .encode_histogram::<NoLabelSet>(sum, total, &buckets, None)?;
            }
            Ok(())
        }

        fn cpu_times(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_cpu",
                "Time that guests have spent computing",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            for (name, stats) in &self.functions {
                let time = seconds(stats.cpu_ns());
                family
                    .encode_family(&[("function", name.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&time, None)?;
            }
            Ok(())
        }

        fn peak_memories(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_peak_memory",
                "Largest linear memory that an instance has had",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?;
            for (name, stats) in &self.functions {
                let bytes = i64::try_from(stats.peak_memory_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
                family.encode_family(&[("function", name.as_str())])?.encode_gauge(&bytes)?;
            }
            Ok(())
        }

        fn engines(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            for (name, help, figure) in ENGINE_GAUGES {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                for engine in &self.engines {
                    let value = i64::try_from(figure(engine)).unwrap_or(i64::MAX);
                    family.encode_family(&[("engine", engine.kind.name())])?.encode_gauge(&value)?;
                }
            }
            Ok(())
        }

        fn queues(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_calls_queued_at_caps",
                "Calls that wait at the cap of their function",
                None,
                MetricType::Gauge,
            )?;
            for (name, stats) in &self.functions {
                let queued = i64::try_from(stats.queued_at_cap.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
                family.encode_family(&[("function", name.as_str())])?.encode_gauge(&queued)?;
            }
            Ok(())
        }

        fn deploys(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_deploys",
                "Deploys that ended, by how",
                None,
                MetricType::Counter,
            )?;
            for (reason, count) in &self.deploys.ended {
                let labels = [("reason", reason.as_str())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
            let bounds = DEPLOY_BUCKETS_MS.iter().map(|ms| *ms as f64 / 1e3).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(self.deploys.durations).collect();
            let total = self.deploys.durations.iter().sum();
            encoder
                .encode_descriptor(
                    "tidepool_deploy",
                    "Time from a deploy's start to its end",
                    Some(&Unit::Seconds),
                    MetricType::Histogram,
                )?
                .encode_histogram::<NoLabelSet>(seconds(self.deploys.ns), total, &buckets, None)
        }

        fn dropped_lines(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(
                "tidepool_console_lines_dropped",
                "Printed lines that were over the function's budget",
                None,
                MetricType::Counter,
            )?;
            for (name, stats) in &self.functions {
                let lines = stats.dropped_lines.load(Ordering::Relaxed);
                family
                    .encode_family(&[("function", name.as_str())])?
                    .encode_counter::<NoLabelSet, _, u64>(&lines, None)?;
            }
            Ok(())
        }
    }

    /// A figure of each engine: name, help text, and which one it is.
    type EngineGauge = (&'static str, &'static str, fn(&EngineFigures) -> usize);

    const ENGINE_GAUGES: [EngineGauge; 4] = [
        ("tidepool_instances_live", "Live instances, idle warm ones included", |engine| engine.live),
        ("tidepool_instances_idle", "Idle instances in warm pools", |engine| engine.idle),
        ("tidepool_instances_max", "Cap on live instances", |engine| engine.max_instances),
        ("tidepool_calls_queued", "Calls that wait for an instance", |engine| engine.queued),
    ];

    fn seconds(ns: u64) -> f64 {
        // Beyond 2^53 ns (104 days) a float drops single ns.
        ns as f64 / 1e9
    }
}
