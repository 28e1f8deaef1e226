//! `tidepool-load udp`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::output::{GuardArgs, OutputArgs, conclude};
use super::session::{control, watched};
use crate::content::{self, DATAGRAM_LIMIT};
use crate::error::InputError;
use crate::report::{About, Summary};
use crate::run::{Pace, RunPlan};
use crate::target;
use crate::tcp::Sources;
use crate::udp::{self, Answer, UdpPlan};
use crate::units::{MAX_PHASE, Rate, nanos, parse_duration, parse_size};

/// Files beside the flows' sockets.
const OTHER_FILES: u64 = 64;

const EXAMPLES: &str = "\
Examples:
  tidepool-load udp 127.0.0.1:9001 --flows 15000 --duration 60s
  tidepool-load udp 127.0.0.1:9001 --flows 15000 --ramp 500/s --duration 60s --html flows.html
  tidepool-load udp 127.0.0.1:9001 --flows 50 --rate 20/s --send-bytes 1200 --max-errors 0.1%";

/// `tidepool-load udp`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Udp {
    /// Where to: HOST:PORT
    addr: String,
    /// How many flows; each is a socket with a port of its own
    #[arg(long, value_name = "N")]
    flows: u64,
    /// Pings per second of each flow
    #[arg(long, default_value = "1/s")]
    rate: Rate,
    /// So many flows join per second, and leave so at the end; by default all ping from the first period on
    #[arg(long, value_name = "RATE")]
    ramp: Option<Rate>,
    /// How long all flows ping
    #[arg(long, value_parser = parse_duration, default_value = "10s", value_name = "TIME")]
    duration: Duration,
    /// Send the content of a file; by default each ping is its own number in 4 bytes
    #[arg(long, value_name = "FILE", conflicts_with = "send_bytes")]
    send_file: Option<PathBuf>,
    /// Send so many bytes of a fixed pattern
    #[arg(long, value_name = "N", value_parser = parse_size)]
    send_bytes: Option<usize>,
    /// A good answer is the content of a file; by default it is what was sent
    #[arg(long, value_name = "FILE", conflicts_with = "expect_bytes")]
    expect_file: Option<PathBuf>,
    /// A good answer has so many bytes
    #[arg(long, value_name = "N", value_parser = parse_size)]
    expect_bytes: Option<usize>,
    /// Source addresses, used in turn; each has its own client ports
    #[arg(long, value_name = "IP,IP", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// A ping without an answer for so long is lost
    #[arg(long, value_parser = parse_duration, default_value = "1s", value_name = "TIME")]
    timeout: Duration,
    /// How long after the end of the schedule starts that are late are still made
    #[arg(long, value_parser = parse_duration, default_value = "1s", value_name = "TIME")]
    catch_up: Duration,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    #[command(flatten)]
    guard: GuardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Udp {
    fn plan(&self) -> Result<Arc<UdpPlan>, InputError> {
        let target = target::resolve(&self.addr, self.guard.yes_i_may_load.as_deref())?;
        target::check_sources(&self.bind, target)?;
        self.check_flows()?;
        let sends = self.send_file.is_some() || self.send_bytes.is_some();
        let payload = content::given(self.send_file.as_deref(), self.send_bytes, DATAGRAM_LIMIT)?;
        let payload = sends.then_some(payload);
        let answer = match (&self.expect_file, self.expect_bytes, &payload) {
            (Some(path), _, _) => Answer::Exactly(content::from_file(path, DATAGRAM_LIMIT)?),
            (None, Some(len), _) => Answer::Length(len),
            (None, None, Some(payload)) => Answer::Exactly(payload.clone()),
            (None, None, None) => Answer::Number,
        };
        let joining_s = self.ramp.map_or(0.0, |ramp| self.flows as f64 / ramp.as_f64());
        if joining_s > MAX_PHASE.as_secs_f64() {
            return Err(InputError::Options(
                "this ramp takes longer than 24h: let more flows join per second".to_owned(),
            ));
        }
        Ok(Arc::new(UdpPlan {
            target,
            sources: Sources(self.bind.clone()),
            flows: self.flows,
            rate: self.rate,
            ramp: self.ramp,
            full_ns: nanos(self.duration),
            payload,
            answer,
        }))
    }

    fn check_flows(&self) -> Result<(), InputError> {
        if self.flows == 0 {
            return Err(InputError::Options("--flows must be above zero: say for example 100".to_owned()));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        match limit {
            Some(limit) if self.flows.saturating_add(OTHER_FILES) > limit => {
                Err(InputError::TooManyFlows { flows: self.flows, limit })
            }
            _ => Ok(()),
        }
    }

    /// Runs it.
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let udp = self.plan()?;
        let plan = RunPlan {
            schedule: Arc::new(udp.schedule()),
            pace: Pace::Even,
            threads: usize::from(self.threads),
            timeout: self.timeout,
            catch_up: self.catch_up,
            hold: Duration::ZERO,
            live: watched(self.output.quiet),
        };
        let outputs = self.output.reserve()?;
        let account = udp::run(&udp, &plan, &control()?)?;
        let about = About { kind: "udp", target: udp.target.to_string(), runtime: "tokio", threads: plan.threads };
        conclude(&Summary::new(about, &account), &self.output.goals(), outputs)
    }
}
