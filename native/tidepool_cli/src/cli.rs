//! The command line: what can be asked for, and how each answer becomes an exit code.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::{Value, json};

use crate::commands::access::{sign, token};
use crate::commands::project::{build, new, setup, watch};
use crate::commands::recording::{recordings, replay};
use crate::commands::{actor, call, completions, deploy, doctor, functions, logs, process, push, status, voters};
use crate::context::{Context, Options};
use crate::exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::variables;

const AFTER: &str = "\
Examples:
  tidepool setup zig && tidepool new zig hello && cd hello && tidepool watch
  tidepool call hello hello --data Ada
  tidepool call site POST /cart -H 'content-type: text/plain' --data tide
  tidepool deploy target/hello.wasm --field instances=warm:8
  tidepool logs hello -f
  tidepool list --label team:shop --json
  tidepool replay fetched/ --against target/hello.wasm

Exit codes:
  0    it is done
  1    the node or the registry refused it, the function failed, or a handler answered with a status from 400 on
  2    the command line, a file or tidepool.toml is not right
  3    no node or registry could be reached, or what answered is none; of `replay`: a call came to something else
  4    the project's build failed, or `setup` could bring no compiler
  130  a build, `setup`, `doctor` or `watch` was ended by Ctrl-C or SIGTERM; other commands end by the signal itself

TIDEPOOL_URL is the node's address, TIDEPOOL_TOKEN its token, TIDEPOOL_CA a file of certificates, and
TIDEPOOL_TOOLCHAINS the folder of what `setup` fetches.";

/// Projects, deploys, calls and nodes of Tidepool.
#[derive(Debug, Parser)]
#[command(name = "tidepool", version, after_help = AFTER, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a project in a new folder
    New(new::New),
    /// Fetch the compiler that projects in a language need
    Setup(setup::Setup),
    /// Build the project of this folder
    Build(build::Build),
    /// Deploy a module, one of a registry, or build this folder's project and deploy that
    Deploy(deploy::Deploy),
    /// Push a module, or this folder's project, to a registry
    Push(push::Push),
    /// Build and deploy this folder's project after each change of its sources
    Watch(watch::Watch),
    /// Call a function, or send a request to a handler of HTTP
    Call(call::Call),
    /// Show what a function prints
    Logs(logs::Logs),
    /// List the functions of a node
    List(functions::List),
    /// Show what is known of a function
    Show(functions::Show),
    /// List the versions of a function that can be gone back to
    Versions(functions::Versions),
    /// Go back to a version of a function, as its next one
    Rollback(functions::Rollback),
    /// Remove a function
    Rm(functions::Rm),
    /// Call, list, show and end actors
    #[command(subcommand)]
    Actor(actor::Actor),
    /// Start, list, show, upgrade and kill programs of processes
    #[command(subcommand)]
    Process(process::Process),
    /// List, fetch and delete recordings of calls
    Recordings(recordings::Recordings),
    /// Run a call that was recorded again, or a folder of them
    Replay(replay::Replay),
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(token::Token),
    /// List the nodes that keep actors together; add, remove and replace them
    Members(voters::Members),
    /// Make a key that signs modules
    Keygen(sign::Keygen),
    /// Sign a module
    Sign(sign::Sign),
    /// Show how a node and its cluster are
    Status(status::Status),
    /// Check what the other commands need
    Doctor(doctor::Doctor),
    /// Print the completions of a shell
    Completions(completions::Completions),
}

/// The definition of the command line.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the tool with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let context = Context::new(cli.options);
    ExitCode::from(match variables::check().and_then(|()| run(&cli.command, &context)) {
        Ok(()) => exit::DONE,
        Err(failure) => told(&failure, context.output),
    })
}

fn run(command: &Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::New(new) => new.run(context),
        Command::Setup(setup) => setup.run(context),
        Command::Build(build) => build.run(context),
        Command::Deploy(deploy) => deploy.run(context),
        Command::Push(push) => push.run(context),
        Command::Watch(watch) => watch.run(context),
        Command::Call(call) => call.run(context),
        Command::Logs(logs) => logs.run(context),
        Command::List(list) => list.run(context),
        Command::Show(show) => show.run(context),
        Command::Versions(versions) => versions.run(context),
        Command::Rollback(rollback) => rollback.run(context),
        Command::Rm(rm) => rm.run(context),
        Command::Actor(actor) => actor.run(context),
        Command::Process(process) => process.run(context),
        Command::Recordings(recordings) => recordings.run(context),
        Command::Replay(replay) => replay.run(context),
        Command::Token(token) => token.run(context),
        Command::Members(members) => members.run(context),
        Command::Keygen(keygen) => keygen.run(context),
        Command::Sign(sign) => sign.run(context),
        Command::Status(status) => status.run(context),
        Command::Doctor(doctor) => doctor.run(context),
        Command::Completions(completions) => completions.run(self::command(), context),
    }
}

/// Says why, unless the command has said so itself, or nobody listens.
fn told(failure: &Failure, output: Output) -> u8 {
    let code = failure.exit();
    if code != exit::DONE && !failure.is_told() {
        for line in failure.said().unwrap_or_default().lines() {
            output.note(line);
        }
        // Nothing is left to be done about a pipe that nobody reads.
        let _ = output.failed(&failure.json(), &failure.to_string(), failure.hint());
    }
    code
}

/// Help and versions are no errors. With `--json` they are JSON, as is what is said of a line that can't be read.
fn refuse(error: &clap::Error) -> u8 {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    let text = error.render().to_string();
    if !error.use_stderr() {
        // Where it can't be written there is nobody to tell.
        let _ = match error.kind() {
            _ if !is_json => error.print(),
            ErrorKind::DisplayVersion => shown(&json!({ "version": env!("CARGO_PKG_VERSION") })),
            _ => shown(&json!({ "help": text })),
        };
        return exit::DONE;
    }
    if is_json {
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let value = json!({ "error": { "reason": "usage", "message": message } });
        let _ = Output::new(true).failed(&value, message, None);
    } else {
        // In colours where it is read from a terminal.
        let _ = error.print();
    }
    exit::USAGE
}

fn shown(value: &Value) -> io::Result<()> {
    Output::new(true).say(value, String::new)
}
