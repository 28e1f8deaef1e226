//! What is counted as OpenMetrics text, which Prometheus reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::counters::{CLASSES, FunctionStats, Outcome, Stats, Totals};
use super::deploys::{DEPLOY_BUCKETS_MS, DeployStats};
use super::latency;
use crate::base::config::EngineKind;

/// What an engine has at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineFigures {
    /// Which one.
    pub kind: EngineKind,
    /// Live instances, idle warm ones included.
    pub live: usize,
    /// Idle warm instances.
    pub idle: usize,
    /// Calls that wait for an instance.
    pub queued: usize,
    /// Cap on live instances.
    pub max_instances: usize,
}

/// What all functions share of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedFigures {
    /// Which one.
    pub resource: &'static str,
    /// How much of it functions have, bytes or a number.
    pub held: u64,
    /// How much there may be.
    pub most: u64,
}

/// A gauge of the caller's: name, help text, value.
pub type Gauge = (String, String, i64);

/// The same of several: name, help text, the label that tells them apart, and the values by what that says.
pub type GaugeByLabel = (String, String, String, Vec<(String, i64)>);

/// The metrics as OpenMetrics text, which Prometheus reads; `gauges` are added as they are.
///
/// # Errors
/// Fails only if the text can't be formatted.
pub(crate) fn render(
    stats: &Stats,
    engines: Vec<EngineFigures>,
    shared: Vec<SharedFigures>,
    gauges: Vec<Gauge>,
    by_label: Vec<GaugeByLabel>,
) -> Result<String, fmt::Error> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(Snapshot {
        functions: stats.snapshot().into_iter().map(|(name, stats)| (name, stats.totals(), stats)).collect(),
        compiles: stats.compiles.load(Ordering::Relaxed),
        compile_ns: stats.compile_ns.load(Ordering::Relaxed),
        engines,
        shared,
        cached: stats.cached.load(Ordering::Relaxed),
        deploys: stats.deploys.snapshot(),
        gauges,
        by_label,
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    functions: Vec<(String, Totals, Arc<FunctionStats>)>,
    compiles: u64,
    compile_ns: u64,
    engines: Vec<EngineFigures>,
    shared: Vec<SharedFigures>,
    cached: u64,
    deploys: DeployStats,
    gauges: Vec<Gauge>,
    by_label: Vec<GaugeByLabel>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.outcomes(&mut encoder)?;
        self.responses(&mut encoder)?;
        self.latencies(&mut encoder)?;
        self.cpu_times(&mut encoder)?;
        self.peak_memories(&mut encoder)?;
        self.held(&mut encoder)?;
        self.shared(&mut encoder)?;
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
        for (name, help, label, values) in &self.by_label {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (of, value) in values {
                family.encode_family(&[(label.as_str(), of.as_str())])?.encode_gauge(value)?;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    fn outcomes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family =
            encoder.encode_descriptor("tidepool_calls", "Calls that ended, by how", None, MetricType::Counter)?;
        for (name, totals, _) in &self.functions {
            for outcome in Outcome::all() {
                let count = totals.count(outcome);
                if count > 0 || outcome == Outcome::Ok {
                    let labels = [("function", name.as_str()), ("reason", outcome.reason())];
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    /// Of a handler all classes are there from the start, so that the first response of one is an increase.
    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Responses that handlers of HTTP made, by the class of their status";
        let mut family = encoder.encode_descriptor("tidepool_responses", help, None, MetricType::Counter)?;
        let handlers = self.functions.iter().filter(|(_, _, stats)| stats.responds.load(Ordering::Relaxed));
        for (name, totals, _) in handlers {
            for (class, count) in CLASSES.iter().zip(&totals.responses) {
                let labels = [("function", name.as_str()), ("status", *class)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
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
        for (name, totals, _) in &self.functions {
            let octaves = latency::by_octaves(&totals.latencies);
            let buckets: Vec<_> = octaves.map(|(bound, count)| (bound.map_or(f64::INFINITY, seconds), count)).collect();
            let total = buckets.iter().map(|(_, count)| count).sum();
            let sum = seconds(totals.latency_ns);
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
        for (name, totals, _) in &self.functions {
            let time = seconds(totals.cpu_ns);
            family.encode_family(&[("function", name.as_str())])?.encode_counter::<NoLabelSet, _, u64>(&time, None)?;
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
        for (name, _, stats) in &self.functions {
            let bytes = i64::try_from(stats.peak_memory_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            family.encode_family(&[("function", name.as_str())])?.encode_gauge(&bytes)?;
        }
        Ok(())
    }

    /// What there is none of is left out: most functions have few of these.
    fn held(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut of_namespaces = BTreeMap::new();
        let help = "What a function holds now: a number of each resource, and bytes of memory";
        let mut family = encoder.encode_descriptor("tidepool_held", help, None, MetricType::Gauge)?;
        for (name, totals, stats) in &self.functions {
            for (resource, figure) in HELD {
                // Threads go on while their counts are added up: what one has given back may be seen, and not that another took it.
                let value = figure(totals, stats).cast_signed();
                if value > 0 {
                    let labels = [("function", name.as_str()), ("resource", resource)];
                    family.encode_family(&labels)?.encode_gauge(&value)?;
                    if let Some((namespace, _)) = name.split_once('/') {
                        let sum = of_namespaces.entry((namespace, resource)).or_insert(0_i64);
                        *sum = sum.saturating_add(value);
                    }
                }
            }
        }
        let help = "What the functions of a namespace hold together now";
        let mut family = encoder.encode_descriptor("tidepool_namespace_held", help, None, MetricType::Gauge)?;
        for ((namespace, resource), value) in of_namespaces {
            family.encode_family(&[("namespace", namespace), ("resource", resource)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn shared(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, figure) in SHARED_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for shared in &self.shared {
                let value = i64::try_from(figure(shared)).unwrap_or(i64::MAX);
                family.encode_family(&[("resource", shared.resource)])?.encode_gauge(&value)?;
            }
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
            "Calls that wait at the cap of their function or of its namespace",
            None,
            MetricType::Gauge,
        )?;
        for (name, _, stats) in &self.functions {
            let queued = i64::try_from(stats.queued_at_cap().load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            family.encode_family(&[("function", name.as_str())])?.encode_gauge(&queued)?;
        }
        Ok(())
    }

    fn deploys(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family =
            encoder.encode_descriptor("tidepool_deploys", "Deploys that ended, by how", None, MetricType::Counter)?;
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
        for (name, _, stats) in &self.functions {
            let lines = stats.dropped_lines.load(Ordering::Relaxed);
            family.encode_family(&[("function", name.as_str())])?.encode_counter::<NoLabelSet, _, u64>(&lines, None)?;
        }
        Ok(())
    }
}

/// A resource that functions hold, and how much of it one does.
type Resource = (&'static str, fn(&Totals, &FunctionStats) -> u64);

const HELD: [Resource; 10] = [
    ("instances", |totals, _| totals.live),
    ("memory", |totals, _| totals.memory_bytes),
    ("host_memory", |totals, _| totals.host_bytes),
    ("code", |_, stats| count(stats.code.count())),
    ("processes", |_, stats| count(stats.processes().load(Ordering::Relaxed))),
    ("stacks", |_, stats| count(stats.stacks.count())),
    ("sockets", |_, stats| count(stats.network.sockets.count())),
    ("links", |_, stats| count(stats.numbers.links.load(Ordering::Relaxed))),
    ("monitors", |_, stats| count(stats.numbers.monitors.load(Ordering::Relaxed))),
    ("handles", |_, stats| count(stats.numbers.handles.load(Ordering::Relaxed))),
];

/// A figure of what functions share: name, help text, and which one it is.
type SharedGauge = (&'static str, &'static str, fn(&SharedFigures) -> u64);

const SHARED_GAUGES: [SharedGauge; 2] = [
    ("tidepool_node_held", "What all functions hold together now of what they share", |shared| shared.held),
    ("tidepool_node_max", "How much there may be of it", |shared| shared.most),
];

fn count(held: usize) -> u64 {
    u64::try_from(held).unwrap_or(u64::MAX)
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
