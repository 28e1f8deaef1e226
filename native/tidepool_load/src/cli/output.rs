//! Options on what comes out of a run, and the permission to make it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use crate::error::InputError;
use crate::exit;
use crate::report::{self, ErrorLimit, Goals, Outputs, Summary};
use crate::units::parse_duration;

/// Reports and assertions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(super) struct OutputArgs {
    /// Write the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// No live line
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Exit 1 if the p99 latency from the due time is above this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_p99: Option<Duration>,
    /// Exit 1 if more starts fail: a number, or a part like 0.1%
    #[arg(long, value_name = "N|N%")]
    max_errors: Option<ErrorLimit>,
}

impl OutputArgs {
    /// Reserves the files.
    pub(super) fn reserve(&self) -> Result<Outputs, InputError> {
        Outputs::reserve(self.json.as_deref(), self.html.as_deref())
    }

    /// What the run is held to.
    pub(super) fn goals(&self) -> Goals {
        Goals { max_p99: self.max_p99, max_errors: self.max_errors }
    }
}

/// The permission to load something else than this machine.
#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// Needed for any target that is not on the loopback: the target again
    #[arg(long, value_name = "ADDR")]
    pub(super) yes_i_may_load: Option<String>,
}

/// Prints and writes a run's report and finds its exit code.
pub(super) fn conclude(summary: &Summary, goals: &Goals, outputs: Outputs) -> Result<u8, CliError> {
    outputs.write(summary)?;
    let mut out = std::io::stdout().lock();
    report::print(&mut out, summary).map_err(InputError::System)?;
    let missed = goals.missed(summary);
    for miss in &missed {
        writeln!(out, "\n! {miss}").map_err(InputError::System)?;
    }
    drop(out);
    if summary.interrupted {
        return Ok(exit::INTERRUPTED);
    }
    if let Some(what_to_do) = summary.own_limit() {
        return Err(InputError::OwnLimit(what_to_do).into());
    }
    if !summary.kept_rate {
        eprintln!("tidepool-load: the generator could not keep the rate; see the report");
        return Ok(exit::RATE);
    }
    Ok(if missed.is_empty() { exit::OK } else { exit::ASSERTION })
}
