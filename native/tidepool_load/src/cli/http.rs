//! `tidepool-load http`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};

use super::error::CliError;
use super::output::{GuardArgs, OutputArgs, conclude};
use super::pace::{EffortArgs, PaceArgs};
use super::session::{control, watched};
use crate::content::{self, Expect, STREAM_LIMIT};
use crate::error::InputError;
use crate::http::{self, HttpPlan, Url, parse_header};
use crate::report::{About, Summary};
use crate::run::RunPlan;
use crate::target;
use crate::tcp::Sources;
use crate::units::parse_size;

/// The most connections that are kept.
const MAX_CONNECTIONS: usize = 100_000;

const EXAMPLES: &str = "\
Examples:
  tidepool-load http http://127.0.0.1:4000/call/hello_world --rate 500/s --connections 50
  tidepool-load http http://127.0.0.1:4000/call/echo --method POST --body-file body.json -H 'content-type: application/json' --rate 100/s
  tidepool-load http http://127.0.0.1:9080/ --http2 --connections 2 --ramp '1k/s..10k/s over 30s' --html ramp.html
  tidepool-load http http://127.0.0.1:4000/ --rate 200/s --expect-status 404 --max-errors 0";

/// What is done with each request.
#[derive(Debug, Args)]
pub(super) struct HttpArgs {
    /// What to ask for: http://HOST:PORT/PATH
    url: String,
    /// The method
    #[arg(long, short = 'X', default_value = "GET")]
    method: Method,
    /// A header, 'Name: value'; may be given several times
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Send the content of a file as the body
    #[arg(long, value_name = "FILE", conflicts_with = "body_bytes")]
    body_file: Option<PathBuf>,
    /// Send so many bytes of a fixed pattern as the body
    #[arg(long, value_name = "N", value_parser = parse_size)]
    body_bytes: Option<usize>,
    /// The status of a good answer [default: any 2xx]
    #[arg(long, value_name = "CODE")]
    expect_status: Option<StatusCode>,
    /// The body of a good answer is exactly this file's content
    #[arg(long, value_name = "FILE", conflicts_with = "expect_bytes")]
    expect_file: Option<PathBuf>,
    /// The body of a good answer has so many bytes
    #[arg(long, value_name = "N", value_parser = parse_size)]
    expect_bytes: Option<usize>,
    /// HTTP/2 with prior knowledge (h2c) instead of HTTP/1.1
    #[arg(long)]
    http2: bool,
    /// Keep so many connections and use them again [default: a new one for each request]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Source addresses, used in turn; each has its own client ports
    #[arg(long, value_name = "IP,IP", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Close with a reset, which leaves no port in TIME_WAIT
    #[arg(long)]
    linger0: bool,
    #[command(flatten)]
    pub(super) effort: EffortArgs,
    #[command(flatten)]
    guard: GuardArgs,
}

impl HttpArgs {
    /// What is asked for, with all files read and all addresses known.
    pub(super) fn plan(&self) -> Result<Arc<HttpPlan>, InputError> {
        let url = Url::parse(&self.url)?;
        let target = target::resolve(&url.host_port, self.guard.yes_i_may_load.as_deref())?;
        target::check_sources(&self.bind, target)?;
        if self.connections.is_some_and(|count| !(1..=MAX_CONNECTIONS).contains(&count)) {
            return Err(InputError::Options(format!("--connections goes from 1 to {MAX_CONNECTIONS}")));
        }
        let expect = match (&self.expect_file, self.expect_bytes) {
            (Some(path), _) => Expect::Exactly(content::from_file(path, STREAM_LIMIT)?),
            (None, Some(len)) => Expect::Length(len as u64),
            (None, None) => Expect::ToEnd,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        Ok(Arc::new(HttpPlan {
            target,
            sources: Sources(self.bind.clone()),
            url,
            method: self.method.clone(),
            headers,
            body: content::given(self.body_file.as_deref(), self.body_bytes, STREAM_LIMIT)?,
            status: self.expect_status,
            expect,
            http2: self.http2,
            connections: self.connections,
            linger0: self.linger0,
            timeout: self.effort.timeout,
        }))
    }

    /// How a run is told about.
    pub(super) fn about(&self, plan: &RunPlan) -> About {
        About { kind: "http", target: self.url.clone(), runtime: "tokio", threads: plan.threads }
    }
}

/// `tidepool-load http`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Http {
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Http {
    /// Runs it.
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let http = self.http.plan()?;
        let mut plan = self.pace.plan(&self.http.effort, Duration::ZERO, watched(self.output.quiet))?;
        if let Some(connections) = http.connections {
            // A worker without a connection could do nothing.
            plan.threads = plan.threads.min(connections);
        }
        let outputs = self.output.reserve()?;
        let account = http::run(&http, &plan, &control()?)?;
        conclude(&Summary::new(self.http.about(&plan), &account), &self.output.goals(), outputs)
    }
}
