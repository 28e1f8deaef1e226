//! The line that shows how a run is going, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Clock, Pace, RunPlan};
use crate::record::{Failures, Latencies, SharedShard};

/// How often it is redrawn.
pub(crate) const EVERY: Duration = Duration::from_millis(200);

/// One line on standard error.
pub(crate) struct LiveLine {
    bar: ProgressBar,
    clock: Clock,
    plan: RunPlan,
    seen: (u64, u64),
}

impl LiveLine {
    /// A line for this run; invisible when not wanted or when nobody is looking.
    pub(crate) fn new(plan: &RunPlan, clock: Clock) -> LiveLine {
        let target = if plan.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(plan.schedule.length_ns() / 1_000_000), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:20.cyan} {wide_msg}") {
            bar.set_style(style);
        }
        LiveLine { bar, clock, plan: plan.clone(), seen: (0, 0) }
    }

    /// Redraws it.
    pub(crate) fn show(&mut self, shards: &[SharedShard]) {
        let now_ns = self.clock.now_ns();
        let (mut started, mut in_flight) = (0, 0);
        let mut failed = Failures::default();
        let mut latency = Latencies::new(2);
        for shard in shards {
            let live = shard.lock().glance();
            started += live.started;
            in_flight += live.in_flight;
            failed.merge(&live.failed);
            latency.merge(&live.latency);
        }
        let (before, before_ns) = self.seen;
        self.seen = (started, now_ns);
        let rate = (started - before) as f64 * 1e9 / (now_ns - before_ns).max(1) as f64;
        let asked = match self.plan.pace {
            Pace::Closed(concurrency) => format!("{concurrency} at a time"),
            Pace::Even | Pace::Poisson(_) => {
                let schedule = &self.plan.schedule;
                schedule.steps().get(schedule.step_at(now_ns)).map_or_else(String::new, |step| step.label.clone())
            }
        };
        let mut line = format!(
            "{:.0}s  asked {asked}  started {rate:.0}/s  in flight {in_flight}  p50 {}  p99 {}  max {} µs",
            now_ns as f64 / 1e9,
            latency.quantile_us(0.5),
            latency.quantile_us(0.99),
            latency.max_us(),
        );
        for (failure, count) in failed.nonzero() {
            line.push_str(&format!("  {} {count}", failure.name()));
        }
        self.bar.set_position(now_ns / 1_000_000);
        self.bar.set_message(line);
    }

    /// Takes it away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
