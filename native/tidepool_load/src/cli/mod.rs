//! The command line: what can be asked for, and how each answer becomes an exit code.

mod error;
mod http;
mod limit;
mod output;
mod pace;
mod serve;
mod session;
mod tcp;
mod udp;

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit;

const EXAMPLES: &str = "\
Examples:
  tidepool-load serve tcp 127.0.0.1:9000 --send-bytes 512
  tidepool-load tcp 127.0.0.1:9000 --rate 10000/s --duration 10s
  tidepool-load tcp 127.0.0.1:9000 --ramp '100/s..20000/s over 60s' --html ramp.html
  tidepool-load http http://127.0.0.1:4000/call/hello_world --rate 500/s --max-p99 5ms --max-errors 0
  tidepool-load udp 127.0.0.1:9001 --flows 15000 --duration 60s
  tidepool-load limit tcp 127.0.0.1:9000 --slo p99=5ms

Exit codes:
  0    the run was made and every assertion held
  1    an assertion (--max-p99, --max-errors) did not hold
  2    bad input, or the generator ran out of ports, files or threads
  3    the generator could not keep the rate
  4    an error of the tool or of the system under it
  130  ended by Ctrl-C or SIGTERM; the report is of what was done until then
If several apply, the first of 130, 2, 3, 1 is given.";

/// An open-loop load generator: starts are made on schedule, whatever the server does.
#[derive(Debug, Parser)]
#[command(name = "tidepool-load", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the other end: a TCP, UDP or HTTP server
    #[command(subcommand)]
    Serve(serve::Serve),
    /// Open TCP connections at a given rate
    Tcp(tcp::Tcp),
    /// Make HTTP requests at a given rate
    Http(http::Http),
    /// Ping over many UDP flows
    Udp(udp::Udp),
    /// Find the highest rate that holds an objective
    #[command(subcommand)]
    Limit(limit::Limit),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Runs the tool with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    raise_file_limit();
    let code = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Tcp(tcp) => tcp.run(),
        Command::Http(http) => http.run(),
        Command::Udp(udp) => udp.run(),
        Command::Limit(limit) => limit.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tidepool-load", &mut std::io::stdout());
            Ok(exit::OK)
        }
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("tidepool-load: {error}");
        error.code()
    }))
}

/// A wrong value gets one line that says what to do; anything else is told in clap's own way.
fn refuse(error: &clap::Error) -> u8 {
    if error.kind() == ErrorKind::ValueValidation {
        let reason = std::error::Error::source(error).map(ToString::to_string);
        let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
        if let (Some(reason), Some(argument)) = (reason, argument) {
            eprintln!("tidepool-load: {argument}: {reason}");
            return exit::INPUT;
        }
    }
    // Nobody is there to be told that standard error is gone.
    drop(error.print());
    if error.use_stderr() { exit::INPUT } else { exit::OK }
}

/// As many open files as the system lets us have without asking for more.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it can't be raised, the run says so when files run out.
    let _ = setrlimit(Resource::Nofile, limit);
}
