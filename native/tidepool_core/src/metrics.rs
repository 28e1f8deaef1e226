//! What is counted, per function and per node, and its Prometheus text.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::error::CallError;

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
    outcomes: [AtomicU64; Outcome::ALL.len()],
    latency: [AtomicU64; BUCKETS_US.len() + 1],
    latency_us: AtomicU64,
    cpu_us: AtomicU64,
    peak_memory_bytes: AtomicU64,
    dropped_lines: AtomicU64,
}

impl FunctionStats {
    /// Counts one call that ended.
    pub(crate) fn record(&self, outcome: Outcome, latency: Duration, cpu: Duration) {
        add(self.outcomes.get(outcome as usize), 1);
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        add(self.latency.get(bucket), 1);
        self.latency_us.fetch_add(us, Ordering::Relaxed);
        self.cpu_us.fetch_add(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn record_memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // Most calls find their size there already: a load is cheaper than a contended maximum.
        if self.peak_memory_bytes.load(Ordering::Relaxed) < bytes {
            self.peak_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_dropped_line(&self) {
        self.dropped_lines.fetch_add(1, Ordering::Relaxed);
    }
}

fn add(counter: Option<&AtomicU64>, by: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// The counters of all functions of a runtime. A function's go when its last version is dropped.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    functions: Mutex<HashMap<String, Weak<FunctionStats>>>,
    compiles: AtomicU64,
    compile_us: AtomicU64,
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
        self.compile_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
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

/// The metrics as OpenMetrics text, which Prometheus reads; `gauges` are added as they are.
///
/// # Errors
/// Fails only if the text can't be formatted.
pub(crate) fn render(stats: &Stats, gauges: Vec<Gauge>) -> Result<String, fmt::Error> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Snapshot {
        functions: stats.snapshot(),
        compiles: stats.compiles.load(Ordering::Relaxed),
        compile_us: stats.compile_us.load(Ordering::Relaxed),
        gauges,
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    functions: Vec<(String, Arc<FunctionStats>)>,
    compiles: u64,
    compile_us: u64,
    gauges: Vec<Gauge>,
}

mod encode {
    //! The snapshot in prometheus-client's terms.

    use std::fmt;
    use std::sync::atomic::Ordering;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::registry::Unit;

    use super::{BUCKETS_US, FunctionStats, Outcome, Snapshot};

    impl Collector for Snapshot {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            self.outcomes(&mut encoder)?;
            self.latencies(&mut encoder)?;
            self.per_function(&mut encoder, "tidepool_cpu_us", "CPU time spent in guests, in µs", true, |stats| {
                stats.cpu_us.load(Ordering::Relaxed)
            })?;
            self.per_function(
                &mut encoder,
                "tidepool_peak_memory_bytes",
                "Largest linear memory that an instance has had, in bytes",
                false,
                |stats| stats.peak_memory_bytes.load(Ordering::Relaxed),
            )?;
            self.per_function(
                &mut encoder,
                "tidepool_console_lines_dropped",
                "Printed lines that were over the function's budget",
                true,
                |stats| stats.dropped_lines.load(Ordering::Relaxed),
            )?;
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
                .encode_counter::<NoLabelSet, _, u64>(&seconds(self.compile_us), None)?;
            for (name, help, value) in &self.gauges {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)?;
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
                    let count = stats.outcomes.get(outcome as usize).map_or(0, |count| count.load(Ordering::Relaxed));
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
                let counts = stats.latency.iter().map(|count| count.load(Ordering::Relaxed));
                let bounds = BUCKETS_US.iter().map(|us| seconds(*us)).chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
                let total = buckets.iter().map(|(_, count)| count).sum();
                let sum = seconds(stats.latency_us.load(Ordering::Relaxed));
                family
                    .encode_family(&[("function", name.as_str())])?
                    .encode_histogram::<NoLabelSet>(sum, total, &buckets, None)?;
            }
            Ok(())
        }

        fn per_function(
            &self,
            encoder: &mut DescriptorEncoder<'_>,
            name: &str,
            help: &str,
            counter: bool,
            value: impl Fn(&FunctionStats) -> u64,
        ) -> Result<(), fmt::Error> {
            let kind = if counter { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (name, stats) in &self.functions {
                let labels = [("function", name.as_str())];
                let mut metric = family.encode_family(&labels)?;
                if counter {
                    metric.encode_counter::<NoLabelSet, _, u64>(&value(stats), None)?;
                } else {
                    metric.encode_gauge(&i64::try_from(value(stats)).unwrap_or(i64::MAX))?;
                }
            }
            Ok(())
        }
    }

    fn seconds(us: u64) -> f64 {
        // Beyond 2^53 µs (285 years) a float drops single µs.
        us as f64 / 1e6
    }
}
