//! `tidepool-load tcp`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::output::{GuardArgs, OutputArgs, conclude};
use super::pace::{EffortArgs, PaceArgs};
use super::session::{control, watched};
use crate::content::{self, Expect, STREAM_LIMIT};
use crate::error::InputError;
use crate::report::{About, Summary};
use crate::run::RunPlan;
use crate::target;
use crate::tcp::{self, RuntimeKind, Sources, TcpPlan};
use crate::units::{parse_duration, parse_size};

const EXAMPLES: &str = "\
Examples:
  tidepool-load tcp 127.0.0.1:9000 --rate 10000/s --duration 10s
  tidepool-load tcp 127.0.0.1:9000 --rate 30000/s --bind 127.0.0.2,127.0.0.3 --expect-bytes 0
  tidepool-load tcp 127.0.0.1:9000 --ramp '0/s..5k/s..0/s over 60s' --send-bytes 100 --expect-file answer.bin
  tidepool-load tcp 127.0.0.1:9000 --rate 100/s --hold 30s --duration 60s --runtime io_uring";

/// What is done with each connection.
#[derive(Debug, Args)]
pub(super) struct TcpArgs {
    /// Where to: HOST:PORT
    addr: String,
    /// Send the content of a file
    #[arg(long, value_name = "FILE", conflicts_with = "send_bytes")]
    send_file: Option<PathBuf>,
    /// Send so many bytes of a fixed pattern
    #[arg(long, value_name = "N", value_parser = parse_size)]
    send_bytes: Option<usize>,
    /// Read exactly the content of a file
    #[arg(long, value_name = "FILE", conflicts_with = "expect_bytes")]
    expect_file: Option<PathBuf>,
    /// Read so many bytes and close; 0 only connects. By default all is read until the server closes
    #[arg(long, value_name = "N", value_parser = parse_size)]
    expect_bytes: Option<usize>,
    /// Keep each connection open so long after its exchange
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    hold: Option<Duration>,
    /// Source addresses, used in turn; each has its own client ports
    #[arg(long, value_name = "IP,IP", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Close with a reset, which leaves no port in TIME_WAIT
    #[arg(long)]
    linger0: bool,
    /// What carries the connections
    #[arg(long, value_enum, default_value_t = RuntimeKind::Tokio)]
    runtime: RuntimeKind,
    #[command(flatten)]
    pub(super) effort: EffortArgs,
    #[command(flatten)]
    guard: GuardArgs,
}

impl TcpArgs {
    /// What is asked for, with all files read and all addresses known.
    pub(super) fn plan(&self) -> Result<Arc<TcpPlan>, InputError> {
        let target = target::resolve(&self.addr, self.guard.yes_i_may_load.as_deref())?;
        target::check_sources(&self.bind, target)?;
        self.runtime.check()?;
        let expect = match (&self.expect_file, self.expect_bytes) {
            (Some(path), _) => Expect::Exactly(content::from_file(path, STREAM_LIMIT)?),
            (None, Some(len)) => {
                content::check("--expect-bytes", len as u64, STREAM_LIMIT)?;
                Expect::Length(len as u64)
            }
            (None, None) => Expect::ToEnd,
        };
        Ok(Arc::new(TcpPlan {
            target,
            sources: Sources(self.bind.clone()),
            send: content::given(self.send_file.as_deref(), self.send_bytes, STREAM_LIMIT)?,
            expect,
            linger0: self.linger0,
            timeout: self.effort.timeout,
            hold: self.hold(),
            runtime: self.runtime,
        }))
    }

    /// How long connections are held.
    pub(super) fn hold(&self) -> Duration {
        self.hold.unwrap_or_default()
    }
}

/// How a TCP run is told about.
pub(super) fn about(tcp: &TcpPlan, plan: &RunPlan) -> About {
    About { kind: "tcp", target: tcp.target.to_string(), runtime: tcp.runtime.name(), threads: plan.threads }
}

/// `tidepool-load tcp`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tcp {
    #[command(flatten)]
    tcp: TcpArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Tcp {
    /// Runs it.
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let tcp = self.tcp.plan()?;
        let plan = self.pace.plan(&self.tcp.effort, self.tcp.hold(), watched(self.output.quiet))?;
        let outputs = self.output.reserve()?;
        let account = tcp::run(&tcp, &plan, &control()?)?;
        conclude(&Summary::new(about(&tcp, &plan), &account), &self.output.goals(), outputs)
    }
}
