//! The numbers of a report, in the shape `--json` has.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{Failure, Latencies, StepRecord};
use crate::run::{Account, Pace};

/// A generator that made fewer than this part of the starts asked for could not keep the rate.
const KEPT_PART: f64 = 0.99;

/// A generator whose p99 lateness is above this could not keep the rate either.
const KEPT_LATENESS_US: u64 = 20_000;

/// The bins of the histogram: ten per decade from 1 µs to 1000 s.
const BINS_PER_DECADE: u32 = 10;
const DECADES: u32 = 9;

/// What was run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct About {
    /// `tcp`, `http` or `udp`.
    pub(crate) kind: &'static str,
    /// Where to.
    pub(crate) target: String,
    /// On what.
    pub(crate) runtime: &'static str,
    /// With how many worker threads.
    pub(crate) threads: usize,
}

/// Five points of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    /// Half are below.
    pub(crate) p50: u64,
    /// 90 % are below.
    pub(crate) p90: u64,
    /// 99 % are below.
    pub(crate) p99: u64,
    /// 99.9 % are below.
    pub(crate) p999: u64,
    /// None is above.
    pub(crate) max: u64,
}

impl From<&Latencies> for Quantiles {
    fn from(latencies: &Latencies) -> Quantiles {
        Quantiles {
            p50: latencies.quantile_us(0.5),
            p90: latencies.quantile_us(0.9),
            p99: latencies.quantile_us(0.99),
            p999: latencies.quantile_us(0.999),
            max: latencies.max_us(),
        }
    }
}

/// The account of a stretch of the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counts {
    /// Arrivals due per second; `null` in a closed loop, which asks for none.
    pub(crate) asked_rate: Option<f64>,
    /// Starts per second.
    pub(crate) achieved_rate: f64,
    /// Arrivals due.
    pub(crate) asked: u64,
    /// Arrivals started; always `completed` plus the sum of `failed`.
    pub(crate) started: u64,
    /// Arrivals due that the generator never came to start.
    pub(crate) unstarted: u64,
    /// Starts that ended as they should.
    pub(crate) completed: u64,
    /// Starts that didn't, by kind; kinds that didn't happen are left out.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// The answers that `wrong_status` counts, by their HTTP status.
    pub(crate) wrong_statuses: BTreeMap<u16, u64>,
    /// How late the generator itself was: actual start minus due time.
    pub(crate) lateness_us: Quantiles,
    /// End minus due time, of completed and timed-out starts.
    pub(crate) latency_us: Quantiles,
    /// End minus actual start, of the same.
    pub(crate) exchange_us: Quantiles,
}

impl Counts {
    /// Arrivals were due for `due_s` seconds and started for `window_s`.
    fn new(record: &StepRecord, due_s: f64, window_s: f64, pace: Pace) -> Counts {
        let per_second = |count: u64, s: f64| {
            if s > 0.0 { round(count as f64 / s) } else { 0.0 }
        };
        Counts {
            asked_rate: match pace {
                Pace::Closed(_) => None,
                Pace::Even | Pace::Poisson(_) => Some(per_second(record.asked, due_s)),
            },
            achieved_rate: per_second(record.started, window_s),
            asked: record.asked,
            started: record.started,
            unstarted: record.asked.saturating_sub(record.started),
            completed: record.completed,
            failed: record.failed.nonzero().map(|(failure, count)| (failure.name(), count)).collect(),
            wrong_statuses: record.failed.statuses().clone(),
            lateness_us: (&record.lateness).into(),
            latency_us: (&record.latency).into(),
            exchange_us: (&record.exchange).into(),
        }
    }

    /// A line for each kind of failure: `reset 3`, `wrong_status 250 (503: 226, 504: 24)`.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> + '_ {
        self.failed.iter().map(|(kind, count)| {
            if *kind != Failure::WrongStatus(0).name() {
                return format!("{kind} {count}");
            }
            let statuses: Vec<_> = self.wrong_statuses.iter().map(|(status, n)| format!("{status}: {n}")).collect();
            format!("{kind} {count} ({})", statuses.join(", "))
        })
    }
}

/// One step of the schedule.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepSummary {
    /// What was asked for in it.
    pub(crate) label: String,
    /// When it began, in seconds after the base.
    pub(crate) from_s: f64,
    /// When it ended.
    pub(crate) to_s: f64,
    /// What happened.
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// One slot of the plots.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Moment {
    /// When it began, in seconds after the base.
    pub(crate) at_s: f64,
    /// Per second, like the next three.
    pub(crate) asked_rate: f64,
    /// Starts made.
    pub(crate) started_rate: f64,
    /// Starts completed.
    pub(crate) completed_rate: f64,
    /// Starts failed.
    pub(crate) failed_rate: f64,
    /// Latency from the due time, of starts due in it.
    pub(crate) latency_us: Quantiles,
}

/// One bin of the latency histogram.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Bin {
    /// Its upper bound, included.
    pub(crate) to_us: u64,
    /// How many latencies from the due time are in it.
    pub(crate) count: u64,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// What was run.
    #[serde(flatten)]
    pub(crate) about: About,
    /// `open` or `closed`.
    pub(crate) mode: &'static str,
    /// `even` or `poisson`; `null` in a closed loop.
    pub(crate) arrivals: Option<&'static str>,
    /// Seconds over which starts were made.
    pub(crate) duration_s: f64,
    /// All of it.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// Whether the generator kept the rate; if not, the latencies contain its own lateness.
    pub(crate) kept_rate: bool,
    /// Whether somebody ended it before its time.
    pub(crate) interrupted: bool,
    /// The most starts under way at once.
    pub(crate) peak_in_flight: u64,
    /// CPU time of this process per start, user and system.
    pub(crate) cpu_us_per_start: f64,
    /// The most memory this process has held, if the system tells.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// What a reader must know to read the numbers rightly.
    pub(crate) notes: Vec<String>,
    /// Step by step.
    pub(crate) steps: Vec<StepSummary>,
    /// Slot by slot.
    pub(crate) timeline: Vec<Moment>,
    /// Latency from the due time.
    pub(crate) histogram: Vec<Bin>,
    #[serde(skip)]
    own_limit: Option<&'static str>,
}

impl Summary {
    /// The summary of an account.
    pub(crate) fn new(about: About, account: &Account) -> Summary {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let window_s = seconds(account.window_ns);
        let counts = Counts::new(&account.whole, seconds(account.scheduled_ns), window_s, account.pace);
        let closed = matches!(account.pace, Pace::Closed(_));
        let late = counts.lateness_us.p99 > KEPT_LATENESS_US;
        let few = (counts.started as f64) < counts.asked as f64 * KEPT_PART;
        let slow = counts.asked_rate.is_some_and(|asked| counts.achieved_rate < asked * KEPT_PART);
        let own_limit = account.whole.failed.nonzero().find_map(|(failure, _)| failure.own_limit());
        let mut summary = Summary {
            about,
            mode: if closed { "closed" } else { "open" },
            arrivals: match account.pace {
                Pace::Closed(_) => None,
                Pace::Even => Some("even"),
                Pace::Poisson(_) => Some("poisson"),
            },
            duration_s: round(window_s),
            kept_rate: closed || !(late || few || slow),
            interrupted: account.interrupted,
            peak_in_flight: account.peak_in_flight,
            cpu_us_per_start: round(account.cpu.as_secs_f64() * 1e6 / counts.started.max(1) as f64),
            peak_memory_bytes: peak_memory(),
            notes: Vec::new(),
            steps: steps(account),
            timeline: timeline(account),
            histogram: bins(&account.whole.latency),
            own_limit,
            counts,
        };
        summary.notes = summary.make_notes(account);
        summary
    }

    /// What to do if the generator ran into its own limits.
    pub(crate) fn own_limit(&self) -> Option<&'static str> {
        self.own_limit
    }

    fn make_notes(&self, account: &Account) -> Vec<String> {
        let mut notes = Vec::new();
        let unstarted = account.unstarted();
        if !self.kept_rate && (unstarted > 0 || self.counts.lateness_us.p99 <= KEPT_LATENESS_US) {
            notes.push(format!(
                "THE GENERATOR DID NOT KEEP THE RATE: asked {}/s, achieved {}/s, {unstarted} never started. \
                 The latencies contain its own lateness.",
                self.counts.asked_rate.unwrap_or(0.0),
                self.counts.achieved_rate,
            ));
        } else if !self.kept_rate {
            notes.push(format!(
                "THE GENERATOR WAS LATE: it made every start, but one in a hundred more than {} µs after it was due. \
                 The latencies contain that. The machine may be busy with something else.",
                self.counts.lateness_us.p99,
            ));
        }
        if let Pace::Closed(concurrency) = account.pace {
            notes.push(format!(
                "Closed loop, {concurrency} at a time: a start waits for the one before it to end, so a slow server is \
                 asked less, and the waiting of those who would have come meanwhile is not in these latencies \
                 (coordinated omission). Use --rate to see it."
            ));
        }
        if self.interrupted {
            notes.push("Interrupted: the numbers are of what was done until then.".to_owned());
        }
        if account.whole.failed.count(Failure::Timeout) + account.whole.failed.count(Failure::Lost) > 0 {
            notes.push(
                "Timed-out starts are in the latencies with the time that was waited; it would have been more."
                    .to_owned(),
            );
        }
        notes.extend(self.own_limit.map(str::to_owned));
        notes
    }
}

fn steps(account: &Account) -> Vec<StepSummary> {
    let seconds = |ns: u64| round(ns as f64 / 1e9);
    let mut steps = Vec::new();
    for (step, record) in &account.steps {
        // An interrupted run never came to its last steps.
        if step.from_ns >= account.window_ns {
            break;
        }
        let to_ns = step.to_ns.min(account.window_ns);
        let length_s = (to_ns - step.from_ns) as f64 / 1e9;
        steps.push(StepSummary {
            label: match account.pace {
                Pace::Closed(concurrency) => format!("{concurrency} at a time"),
                Pace::Even | Pace::Poisson(_) => step.label.clone(),
            },
            from_s: seconds(step.from_ns),
            to_s: seconds(to_ns),
            counts: Counts::new(record, length_s, length_s, account.pace),
        });
    }
    steps
}

fn timeline(account: &Account) -> Vec<Moment> {
    let slot_s = account.timeline.slot_ns as f64 / 1e9;
    // The last slot takes all that came after the schedule, however long that was, so it has no rate.
    let last = account.timeline.slots.len().saturating_sub(1);
    let until = account.window_ns.div_ceil(account.timeline.slot_ns);
    let slots = account.timeline.slots.iter().enumerate().take(last);
    slots
        .take_while(|(k, _)| (*k as u64) < until)
        .map(|(k, slot)| Moment {
            at_s: round(k as f64 * slot_s),
            asked_rate: round(slot.asked as f64 / slot_s),
            started_rate: round(slot.started as f64 / slot_s),
            completed_rate: round(slot.completed as f64 / slot_s),
            failed_rate: round(slot.failed as f64 / slot_s),
            latency_us: (&slot.latency).into(),
        })
        .collect()
}

fn bins(latencies: &Latencies) -> Vec<Bin> {
    let bounds: Vec<u64> = (0..=BINS_PER_DECADE * DECADES)
        .map(|k| 10_f64.powf(f64::from(k) / f64::from(BINS_PER_DECADE)).round() as u64)
        .collect();
    let counts = latencies.binned(&bounds);
    let mut bins: Vec<Bin> = bounds
        .into_iter()
        .chain([u64::MAX])
        .zip(counts)
        .map(|(to_us, count)| Bin { to_us, count })
        .skip_while(|bin| bin.count == 0)
        .collect();
    while bins.last().is_some_and(|bin| bin.count == 0) {
        bins.pop();
    }
    bins
}

/// To three decimals, so that JSON stays readable.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The high-water mark of this process's memory.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
