//! `tidepool recordings`: what a node keeps of calls.

use std::fs;
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::commands::members::{list, number, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::{Node, NodeError, Path};
use crate::output::{Table, age, bytes};

/// How files of recordings end.
pub(crate) const EXTENSION: &str = "tiderec";

/// `tidepool recordings`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Recordings {
    /// Those of this function alone; after -- it may be called as a command is
    name: Option<String>,
    /// How many of the newest are listed at most
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is done with one.
#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a recording into a file, for this user alone: it has what callers and hosts sent
    Get(Get),
    /// Delete a recording
    Delete(Delete),
}

/// `tidepool recordings get`
#[derive(Debug, Args)]
struct Get {
    /// Its name, as the list has it
    id: String,
    /// The file, or - for standard output [default: ID.tiderec]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `tidepool recordings delete`
#[derive(Debug, Args)]
struct Delete {
    /// Its name, as the list has it
    id: String,
}

impl Recordings {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            None => self.list(context),
            Some(Command::Get(get)) => get.run(context),
            Some(Command::Delete(Delete { id })) => {
                let answer = context.node()?.delete(&path(id))?;
                Ok(context.output.say(&answer, || format!("{id} is deleted"))?)
            }
        }
    }

    fn list(&self, context: &Context) -> Result<(), Failure> {
        let path = Path::of(&["recordings"]).with("limit", &self.limit.to_string());
        let path = self.name.iter().fold(path, |path, name| path.with("function", name));
        let answer = context.node()?.get(&path)?;
        Ok(context.output.say(&answer, || table(&answer))?)
    }
}

impl Get {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let recording = fetch(&context.node()?, &self.id)?;
        let file = match &self.output {
            Some(file) if file == FilePath::new("-") => return Ok(context.output.bytes(&recording)?),
            Some(file) => file.clone(),
            None => PathBuf::from(format!("{}.{EXTENSION}", self.id.replace('/', "_"))),
        };
        write(&file, &recording)?;
        let value = json!({ "id": self.id, "file": file, "bytes": recording.len() });
        Ok(context.output.say(&value, || format!("{} ({})", file.display(), bytes(recording.len() as u64)))?)
    }
}

/// A recording that the node keeps.
///
/// # Errors
///
/// When it keeps none of this name, or does not hand it out.
pub(crate) fn fetch(node: &Node, id: &str) -> Result<Vec<u8>, NodeError> {
    node.fetch(&path(id))
}

fn path(id: &str) -> Path {
    Path::of(&["recordings", id])
}

/// The file is there whole, or as it was before; nobody else may read it.
fn write(file: &FilePath, recording: &[u8]) -> Result<(), Failure> {
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Err(Failure::NoFile { path: file.to_owned() });
    }
    let folder = file.parent().filter(|folder| *folder != FilePath::new("")).unwrap_or(FilePath::new("."));
    let written = || -> io::Result<()> {
        let mut new = NamedTempFile::new_in(folder)?;
        new.write_all(recording)?;
        new.persist(file)?;
        Ok(())
    };
    written().map_err(|source| Failure::Unwritable { path: file.to_owned(), source })
}

fn table(answer: &Value) -> String {
    let recordings = list(answer, "recordings");
    if recordings.is_empty() {
        return "none is kept".to_owned();
    }
    let mut table = Table::new(&["id", "when", "function", "version", "operation", "outcome"]);
    for recording in recordings {
        let of = |member| text(recording, member);
        let when = number(recording, "at").map_or_else(|| "-".to_owned(), |at| format!("{} ago", age(at / 1_000)));
        table.row([of("id"), when, of("function"), of("version"), of("operation"), outcome(recording)]);
    }
    table.text()
}

fn outcome(recording: &Value) -> String {
    let of = |member| recording.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (of("damaged"), of("message")) {
        (Some(damaged), _) => format!("damaged: {damaged}"),
        (None, Some(message)) => format!("{}: {message}", text(recording, "reason")),
        (None, None) => text(recording, "reason"),
    }
}
