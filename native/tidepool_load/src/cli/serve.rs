//! `tidepool-load serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::output::GuardArgs;
use super::session::control;
use crate::content::{self, DATAGRAM_LIMIT, Expect, STREAM_LIMIT};
use crate::error::InputError;
use crate::exit;
use crate::serve::http::Route;
use crate::serve::{self, http, tcp, udp};
use crate::target;
use crate::units::{parse_duration, parse_size};

/// What to serve.
#[derive(Debug, Subcommand)]
pub(super) enum Serve {
    /// Read what is expected, send what is given, close
    Tcp(ServeTcp),
    /// Send each datagram back, or answer it with given bytes
    Udp(ServeUdp),
    /// Answer HTTP/1.1 and HTTP/2 requests with canned bytes
    Http(ServeHttp),
}

/// What every server has.
#[derive(Debug, Args)]
struct ServeArgs {
    /// Where to listen: HOST:PORT; port 0 takes a free one
    addr: String,
    /// Listeners on the one port (SO_REUSEPORT), one thread each [default: one per core]
    #[arg(long, value_name = "N")]
    acceptors: Option<usize>,
    #[command(flatten)]
    guard: GuardArgs,
}

impl ServeArgs {
    fn resolve(&self) -> Result<(std::net::SocketAddr, usize), InputError> {
        let addr = target::resolve(&self.addr, self.guard.yes_i_may_load.as_deref())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.acceptors.unwrap_or(cores) {
            count @ 1..=256 => Ok((addr, count)),
            _ => Err(InputError::Options("--acceptors goes from 1 to 256".to_owned())),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ServeTcp {
    #[command(flatten)]
    serve: ServeArgs,
    /// Connections that may wait to be accepted, per listener; the system's net.core.somaxconn caps it
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    backlog: i32,
    /// Send the content of a file
    #[arg(long, value_name = "FILE", conflicts_with = "send_bytes")]
    send_file: Option<PathBuf>,
    /// Send so many bytes of a fixed pattern
    #[arg(long, value_name = "N", value_parser = parse_size)]
    send_bytes: Option<usize>,
    /// Read exactly the content of a file before sending; a reset answers anything else
    #[arg(long, value_name = "FILE", conflicts_with = "expect_bytes")]
    expect_file: Option<PathBuf>,
    /// Read so many bytes before sending
    #[arg(long, value_name = "N", value_parser = parse_size)]
    expect_bytes: Option<usize>,
    /// Leave closing to the client
    #[arg(long)]
    keep_open: bool,
    /// How long a connection may take
    #[arg(long, value_parser = parse_duration, default_value = "5min", value_name = "TIME")]
    timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct ServeUdp {
    #[command(flatten)]
    serve: ServeArgs,
    /// Answer with the content of a file instead of the echo
    #[arg(long, value_name = "FILE", conflicts_with = "send_bytes")]
    send_file: Option<PathBuf>,
    /// Answer with so many bytes of a fixed pattern instead of the echo
    #[arg(long, value_name = "N", value_parser = parse_size)]
    send_bytes: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct ServeHttp {
    #[command(flatten)]
    serve: ServeArgs,
    /// Connections that may wait to be accepted, per listener
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    backlog: i32,
    /// Answer a path with a file's bytes; may be given several times
    #[arg(long = "file", value_name = "PATH=FILE")]
    files: Vec<Route>,
    /// Answer every other path with so many bytes of a fixed pattern; without it they get 404 if there are files
    #[arg(long, value_name = "N", value_parser = parse_size)]
    send_bytes: Option<usize>,
    /// The status of the answers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
}

impl Serve {
    /// Serves until Ctrl-C.
    pub(super) fn run(&self) -> Result<u8, CliError> {
        let control = control()?;
        match self {
            Serve::Tcp(args) => {
                let (addr, acceptors) = args.serve.resolve()?;
                let expect = match (&args.expect_file, args.expect_bytes) {
                    (Some(path), _) => Expect::Exactly(content::from_file(path, STREAM_LIMIT)?),
                    (None, len) => Expect::Length(len.unwrap_or(0) as u64),
                };
                let service = tcp::TcpService {
                    expect,
                    send: content::given(args.send_file.as_deref(), args.send_bytes, STREAM_LIMIT)?,
                    linger_for_client: args.keep_open,
                    timeout: args.timeout,
                };
                tcp::start(addr, acceptors, args.backlog, service)?;
            }
            Serve::Udp(args) => {
                let (addr, receivers) = args.serve.resolve()?;
                let answers = args.send_file.is_some() || args.send_bytes.is_some();
                let answer = content::given(args.send_file.as_deref(), args.send_bytes, DATAGRAM_LIMIT)?;
                udp::start(addr, receivers, answers.then_some(answer))?;
            }
            Serve::Http(args) => {
                let (addr, acceptors) = args.serve.resolve()?;
                let other = match (args.send_bytes, args.files.is_empty()) {
                    (None, false) => None,
                    (len, _) => Some(content::pattern("--send-bytes", len.unwrap_or(0), STREAM_LIMIT)?),
                };
                http::start(addr, acceptors, args.backlog, &args.files, other, args.status)?;
            }
        }
        serve::until_stopped(&control);
        Ok(exit::OK)
    }
}
