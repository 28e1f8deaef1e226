//! `tidepool-load limit`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::error::CliError;
use super::http::HttpArgs;
use super::pace::EffortArgs;
use super::session::{control, watched};
use super::tcp::{TcpArgs, about};
use crate::error::InputError;
use crate::exit;
use crate::limit::{Bound, Found, Objective, Probe, Search, search};
use crate::report::{About, Counts, ErrorLimit, Reserved, Summary, to_json};
use crate::run::{Account, Control, RunError, RunPlan};
use crate::units::{Rate, parse_duration};
use crate::{http, tcp};

const EXAMPLES: &str = "\
Examples:
  tidepool-load limit tcp 127.0.0.1:9000 --slo p99=5ms
  tidepool-load limit http http://127.0.0.1:4000/call/hello_world --connections 50 --slo p99=5ms --slo p999=20ms";

/// Find the highest rate that holds an objective.
#[derive(Debug, Subcommand)]
pub(super) enum Limit {
    /// New TCP connections
    #[command(after_help = EXAMPLES)]
    Tcp {
        #[command(flatten)]
        what: TcpArgs,
        #[command(flatten)]
        search: SearchArgs,
    },
    /// HTTP requests
    #[command(after_help = EXAMPLES)]
    Http {
        #[command(flatten)]
        what: HttpArgs,
        #[command(flatten)]
        search: SearchArgs,
    },
}

/// How the limit is searched for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
pub(super) struct SearchArgs {
    /// An objective on the latency from the due time, like p99=5ms; may be given several times
    #[arg(long, required = true, value_name = "POINT=TIME")]
    slo: Vec<Objective>,
    /// Failures that are allowed at a rate: a number, or a part like 0.1%
    #[arg(long, default_value = "0", value_name = "N|N%")]
    max_errors: ErrorLimit,
    /// The first rate tried
    #[arg(long, default_value = "500/s", value_name = "RATE")]
    from: Rate,
    /// The highest rate tried
    #[arg(long, default_value = "200000/s", value_name = "RATE")]
    to: Rate,
    /// How long each rate is tried
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    step: Duration,
    /// The rest between two rates, in which ports and queues recover
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME")]
    rest: Duration,
    /// How narrow the gap between held and missed must become, in percent
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    precision: f64,
    /// Write the curve as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

/// One rate that was tried.
#[derive(Debug, Serialize)]
struct Tried {
    rate: f64,
    held: bool,
    kept_rate: bool,
    #[serde(flatten)]
    counts: Counts,
}

/// What `--json` has.
#[derive(Debug, Serialize)]
struct Curve {
    #[serde(flatten)]
    about: About,
    objectives: Vec<String>,
    limit_rate: Option<f64>,
    bounded_by: Bound,
    curve: Vec<Tried>,
}

impl Limit {
    /// Runs the search.
    pub(super) fn run(&self) -> Result<u8, CliError> {
        match self {
            Limit::Tcp { what, search } => {
                let tcp = what.plan()?;
                let about = |plan: &RunPlan| about(&tcp, plan);
                search.run(&what.effort, what.hold(), about, |plan, control| tcp::run(&tcp, plan, control))
            }
            Limit::Http { what, search } => {
                let http = what.plan()?;
                let about = |plan: &RunPlan| what.about(plan);
                search.run(&what.effort, Duration::ZERO, about, |plan, control| http::run(&http, plan, control))
            }
        }
    }
}

impl SearchArgs {
    fn run(
        &self,
        effort: &EffortArgs,
        hold: Duration,
        about: impl Fn(&RunPlan) -> About,
        run: impl Fn(&RunPlan, &std::sync::Arc<Control>) -> Result<Account, RunError>,
    ) -> Result<u8, CliError> {
        if !(0.1..=100.0).contains(&self.precision) {
            return Err(InputError::Options("--precision goes from 0.1 to 100 percent".to_owned()).into());
        }
        if self.from > self.to {
            return Err(InputError::Options("--from is above --to: swap them".to_owned()).into());
        }
        let json = self.json.as_deref().map(Reserved::new).transpose()?;
        let control = control()?;
        let mut curve: Vec<Tried> = Vec::new();
        let mut own_limit = None;
        let area = Search { from: self.from, to: self.to, precision: self.precision / 100.0 };
        let found = search(area, |rate| -> Result<Option<Probe>, CliError> {
            let plan = effort.steady(rate, self.step, hold)?;
            if !curve.is_empty() {
                rest(&control, self.rest);
            }
            if control.is_stopped() {
                return Ok(None);
            }
            let summary = Summary::new(about(&plan), &run(&plan, &control)?);
            if summary.interrupted {
                return Ok(None);
            }
            own_limit = own_limit.or(summary.own_limit());
            let probe = self.judge(&summary);
            if watched(self.quiet) {
                eprintln!("{rate}: {probe:?}, p99 {} µs", summary.counts.latency_us.p99);
            }
            let (held, kept_rate) = (probe == Probe::Held, summary.kept_rate);
            curve.push(Tried { rate: rate.as_f64(), held, kept_rate, counts: summary.counts });
            Ok(Some(probe))
        })?;
        let curve = Curve {
            about: about(&effort.steady(self.from, self.step, hold)?),
            objectives: self.slo.iter().map(ToString::to_string).collect(),
            limit_rate: found.rate.map(Rate::as_f64),
            bounded_by: found.bound,
            curve,
        };
        if let Some(json) = json {
            json.fill(&to_json(&curve)?)?;
        }
        print(&curve, found).map_err(InputError::System)?;
        if found.bound == Bound::Interrupted {
            return Ok(exit::INTERRUPTED);
        }
        if found.bound == Bound::Generator {
            return match own_limit {
                Some(what_to_do) => Err(InputError::OwnLimit(what_to_do).into()),
                None => Ok(exit::RATE),
            };
        }
        Ok(if found.rate.is_some() { exit::OK } else { exit::ASSERTION })
    }

    fn judge(&self, summary: &Summary) -> Probe {
        let counts = &summary.counts;
        let failed: u64 = counts.failed.values().sum();
        if summary.own_limit().is_some() || !summary.kept_rate {
            Probe::Generator
        } else if counts.completed > 0
            && self.max_errors.allows(failed, counts.started)
            && self.slo.iter().all(|objective| objective.holds(&counts.latency_us))
        {
            Probe::Held
        } else {
            Probe::Missed
        }
    }
}

/// Waits, or stops waiting when told to stop.
fn rest(control: &Control, rest: Duration) {
    let until = std::time::Instant::now() + rest;
    while !control.is_stopped() {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

fn print(curve: &Curve, found: Found) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let About { kind, target, runtime, threads } = &curve.about;
    writeln!(out, "limit {kind} {target}  {runtime}, {threads} threads, {}\n", curve.objectives.join(", "))?;
    writeln!(
        out,
        "{:>11}{:>12}{:>9}{:>9}{:>10}{:>10}{:>9}  result",
        "asked/s", "achieved/s", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "failed"
    )?;
    let mut tried: Vec<&Tried> = curve.curve.iter().collect();
    tried.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    for Tried { rate, held, kept_rate, counts } in tried {
        let result = match (held, kept_rate) {
            (true, _) => "held",
            (false, true) => "missed",
            (false, false) => "the generator did not keep the rate",
        };
        let latency = counts.latency_us;
        writeln!(
            out,
            "{rate:>11.1}{:>12.1}{:>9}{:>9}{:>10}{:>10}{:>9}  {result}",
            counts.achieved_rate,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            counts.failed.values().sum::<u64>(),
        )?;
    }
    writeln!(out)?;
    match found.rate {
        Some(rate) => writeln!(out, "limit: {rate}"),
        None => writeln!(out, "limit: below the first rate tried; give a lower --from"),
    }?;
    match found.bound {
        Bound::Objective => Ok(()),
        Bound::Generator => {
            writeln!(out, "! the generator is what ended the search, not the server: the server's limit is higher")
        }
        Bound::Ceiling => writeln!(out, "! the highest rate tried still holds: give a higher --to"),
        Bound::Interrupted => writeln!(out, "! interrupted: the search did not come to its end"),
    }
}
