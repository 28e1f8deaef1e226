//! Options on when starts are made.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::error::InputError;
use crate::run::{Pace, RunPlan};
use crate::schedule::{Phase, Schedule, SpecError, parse_phases};
use crate::units::{Rate, nanos, parse_duration};

/// How many lines a ramp gets in the report.
const SLICES: u64 = 10;

/// The most users of a closed loop.
const MAX_CONCURRENCY: usize = 1_000_000;

/// The most worker threads.
const MAX_THREADS: usize = 256;

/// The phases of `--ramp`.
#[derive(Debug, Clone)]
struct Ramp(Vec<Phase>);

fn parse_ramp(text: &str) -> Result<Ramp, SpecError> {
    parse_phases(text).map(Ramp)
}

/// When starts are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub(super) struct PaceArgs {
    /// Starts per second: 10000/s, 2.5k/s, 600/min, 0.1/s
    #[arg(long, required_unless_present_any = ["ramp", "concurrency"], conflicts_with_all = ["ramp", "concurrency"])]
    rate: Option<Rate>,
    /// A changing rate: '100/s..20000/s over 60s', '1k/s..9k/s over 40s in 5 steps', '500/s for 10s', joined by commas
    #[arg(long, value_parser = parse_ramp, conflicts_with_all = ["concurrency", "duration"])]
    ramp: Option<Ramp>,
    /// How long to go on starting (not with --ramp, which says so itself)
    #[arg(long, value_parser = parse_duration, default_value = "10s", value_name = "TIME")]
    duration: Duration,
    /// Closed loop for comparison with ab and wrk: so many at a time, the next when one has ended
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Starts by chance (Poisson) instead of evenly
    #[arg(long, conflicts_with = "concurrency")]
    poisson: bool,
    /// The seed of --poisson
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// How starts are made, at whatever pace.
#[derive(Debug, Args)]
#[command(next_help_heading = "Effort")]
pub(super) struct EffortArgs {
    /// How long one start may take before it counts as timed out
    #[arg(long, value_parser = parse_duration, default_value = "5s", value_name = "TIME")]
    pub(super) timeout: Duration,
    /// How long after the end of the schedule starts that are late are still made
    #[arg(long, value_parser = parse_duration, default_value = "1s", value_name = "TIME")]
    catch_up: Duration,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl EffortArgs {
    /// Worker threads.
    pub(super) fn threads(&self) -> Result<usize, InputError> {
        match self.threads {
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
            Some(threads) if (1..=MAX_THREADS).contains(&threads) => Ok(threads),
            Some(_) => Err(InputError::Options(format!("--threads goes from 1 to {MAX_THREADS}"))),
        }
    }

    /// A run at one steady rate.
    pub(super) fn steady(&self, rate: Rate, length: Duration, hold: Duration) -> Result<RunPlan, InputError> {
        Ok(RunPlan {
            schedule: Arc::new(Schedule::steady(rate, nanos(length))),
            pace: Pace::Even,
            threads: self.threads()?,
            timeout: self.timeout,
            catch_up: self.catch_up,
            hold,
            live: false,
        })
    }
}

impl PaceArgs {
    /// The run that is asked for.
    pub(super) fn plan(&self, effort: &EffortArgs, hold: Duration, live: bool) -> Result<RunPlan, InputError> {
        let schedule = match (&self.ramp, self.rate) {
            (Some(Ramp(phases)), _) => Schedule::new(phases, SLICES),
            // A closed loop has no rate; its schedule is only its length.
            (None, rate) => Schedule::steady(rate.unwrap_or(Rate::per_second(1.0)), nanos(self.duration)),
        };
        let pace = match (self.concurrency, self.poisson) {
            (Some(concurrency), _) if (1..=MAX_CONCURRENCY).contains(&concurrency) => Pace::Closed(concurrency),
            (Some(_), _) => {
                return Err(InputError::Options(format!("--concurrency goes from 1 to {MAX_CONCURRENCY}")));
            }
            (None, true) => Pace::Poisson(self.seed),
            (None, false) => Pace::Even,
        };
        Ok(RunPlan {
            schedule: Arc::new(schedule),
            live,
            pace,
            hold,
            ..effort.steady(Rate::ZERO, self.duration, hold)?
        })
    }
}
