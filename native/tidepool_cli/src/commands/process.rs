//! `tidepool process`: programs of processes.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::members::{all, list, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::Path;
use crate::output::Table;

/// `tidepool process`
#[derive(Debug, Subcommand)]
pub(crate) enum Process {
    /// Start a function that is a program
    Start(Start),
    /// List the processes of a node
    List(List),
    /// Show what is known of a process
    Show(Numbered),
    /// Ask a program to go on as the function's newest version
    Upgrade(Numbered),
    /// Kill a process
    Kill(Numbered),
}

/// `tidepool process start`
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Which function
    name: String,
    /// Its arguments
    args: Vec<String>,
}

/// `tidepool process list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those of this function alone
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
}

/// A process.
#[derive(Debug, Args)]
pub(crate) struct Numbered {
    /// Its number, such as 1.1
    id: String,
}

impl Process {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let node = context.node()?;
        match self {
            Self::Start(Start { name, args }) => {
                let body = json!({ "args": args }).to_string().into_bytes();
                let (_status, answer) = node.post(&Path::of(&["processes", name]), "application/json", body)?;
                let id = text(&answer, "id");
                Ok(context.output.say(&answer, || format!("{name} runs as process {id}"))?)
            }
            Self::List(List { function }) => {
                let path = Path::of(&["processes"]);
                let path = function.iter().fold(path, |path, name| path.with("function", name));
                let answer = node.get(&path)?;
                Ok(context.output.say(&answer, || table(&answer))?)
            }
            Self::Show(Numbered { id }) => {
                let answer = node.get(&Path::of(&["processes", id]))?;
                Ok(context.output.say(&answer, || all(&answer))?)
            }
            Self::Upgrade(Numbered { id }) => {
                let (_status, answer) = node.change(&Path::of(&["processes", id, "upgrade"]))?;
                Ok(context.output.say(&answer, || all(&answer))?)
            }
            Self::Kill(Numbered { id }) => {
                let answer = node.delete(&Path::of(&["processes", id]))?;
                Ok(context.output.say(&answer, || format!("{id} is killed"))?)
            }
        }
    }
}

fn table(answer: &Value) -> String {
    let processes = list(answer, "processes");
    if processes.is_empty() {
        return "no process runs".to_owned();
    }
    let mut table = Table::new(&["id", "function", "version", "state", "memory", "cpu µs", "messages"]);
    for process in processes {
        let of = |member| text(process, member);
        table.row([
            of("id"),
            of("function"),
            of("version"),
            of("state"),
            of("memory"),
            of("cpu_us"),
            of("message_queue"),
        ]);
    }
    let more = super::members::number(answer, "omitted").filter(|omitted| *omitted > 0);
    more.map_or_else(|| table.text(), |omitted| format!("{}\nand {omitted} more", table.text()))
}
