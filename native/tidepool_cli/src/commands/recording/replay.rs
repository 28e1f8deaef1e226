//! `tidepool replay`: calls that were recorded, again, on a node.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value, json};
use tidepool_errors::Reason;

use super::recordings::{EXTENSION, fetch};
use super::report::{Replayed, is_as_recorded, lines, verdicts};
use crate::commands::members::text;
use crate::context::{Context, read};
use crate::failure::Failure;
use crate::node::{Node, Path};
use crate::output::{Progress, escape};

/// `tidepool replay`
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A file that `recordings get` has made, a folder of such, or the name of one that the node keeps
    #[arg(value_name = "FILE|FOLDER|ID")]
    recording: PathBuf,
    /// The module that was called, where the node has it no more, or is another
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    wasm: Option<PathBuf>,
    /// Another version of the module: what would its callers notice?
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Show what the host was asked in the call, and what it answered
    #[arg(long)]
    log: bool,
}

/// Where a recording is.
enum Source {
    File(PathBuf),
    Kept(String),
}

impl Replay {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        if self.recording.is_dir() {
            return self.folder(context);
        }
        let source = self.source();
        let module = self.module()?;
        let report = self.replay(context, &context.node()?, &source, module.as_deref())?;
        self.show(context, &source.title(), &report)?;
        if is_as_recorded(&report) { Ok(()) } else { Err(Failure::Differs) }
    }

    /// What is no file, and does not look as if it should be one, is the name of a recording.
    fn source(&self) -> Source {
        let named = self.recording.to_str().filter(|text| !text.contains('/') && *text != "-");
        match named {
            Some(id) if !self.recording.exists() && self.recording.extension().is_none() => Source::Kept(id.to_owned()),
            _ => Source::File(self.recording.clone()),
        }
    }

    /// The module in Base64.
    fn module(&self) -> Result<Option<String>, Failure> {
        let file = self.wasm.as_ref().or(self.against.as_ref());
        file.map(|file| Ok(BASE64_STANDARD.encode(read(file)?))).transpose()
    }

    fn replay(&self, context: &Context, node: &Node, source: &Source, module: Option<&str>) -> Result<Value, Failure> {
        let recording = match source {
            Source::File(file) => read(file)?,
            Source::Kept(id) => fetch(node, id)?,
        };
        let asked = json!({
            "recording": BASE64_STANDARD.encode(recording),
            "module": module,
            "against": self.against.is_some(),
        });
        let body = asked.to_string().into_bytes();
        let _progress = (!context.output.is_json()).then(|| Progress::of(format!("replaying {}", source.title())));
        node.takes(body.len())?;
        let (_status, mut report) = node.post(&Path::of(&["replay"]), "application/json", body)?;
        if let Some(members) = report.as_object_mut() {
            members.insert(source.member().to_owned(), json!(source.title()));
        }
        Ok(report)
    }

    fn show(&self, context: &Context, title: &str, report: &Value) -> Result<(), Failure> {
        let shown = || {
            let head = format!("{}: {}", escape(title), escape(&text(report, "verdict")));
            let rest = lines(report, self.log).into_iter().map(|line| format!("  {line}"));
            std::iter::once(head).chain(rest).collect::<Vec<_>>().join("\n")
        };
        Ok(context.output.say(report, shown)?)
    }

    /// All recordings of a folder, one after the other. One that can't be replayed does not keep the others from it.
    fn folder(&self, context: &Context) -> Result<(), Failure> {
        let files = self.files()?;
        let module = self.module()?;
        let node = context.node()?;
        // A table is as wide as the widest of its rows, and waits for all.
        let is_table = self.against.is_some() && !self.log && !context.output.is_json();
        let mut replayed: Vec<Replayed> = Vec::new();
        for file in files {
            let source = Source::File(file);
            let outcome = self.replay(context, &node, &source, module.as_deref());
            let outcome = match outcome {
                Err(failure) if !is_of_one(&failure) => return Err(failure),
                outcome => outcome,
            };
            if !is_table {
                self.show_one(context, &source, &outcome)?;
            }
            replayed.push((source.title(), outcome));
        }
        self.end(context, &replayed, is_table)
    }

    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let unreadable = |source| Failure::Unreadable { path: self.recording.clone(), source };
        let entries = fs::read_dir(&self.recording).map_err(unreadable)?.collect::<Result<Vec<_>, _>>();
        let paths = entries.map_err(unreadable)?.into_iter().map(|entry| entry.path());
        let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == EXTENSION)).collect();
        // Their names begin with when they were made.
        files.sort();
        if files.is_empty() { Err(Failure::NoRecordings { path: self.recording.clone() }) } else { Ok(files) }
    }

    fn show_one(&self, context: &Context, source: &Source, outcome: &Result<Value, Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(report) => self.show(context, &source.title(), report),
            Err(failure) => {
                let mut value = failure.json();
                if let Some(members) = value.as_object_mut() {
                    members.insert(source.member().to_owned(), json!(source.title()));
                }
                Ok(context.output.say(&value, || escape(&format!("{}: {failure}", source.title())))?)
            }
        }
    }

    /// How many came to what, and the status that goes with it.
    fn end(&self, context: &Context, replayed: &[Replayed], is_table: bool) -> Result<(), Failure> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_title, outcome) in replayed {
            let verdict = outcome.as_ref().map_or_else(|_failure| "error".to_owned(), |report| text(report, "verdict"));
            *counts.entry(verdict).or_default() += 1;
        }
        let told = || {
            let counted: Vec<_> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
            let total = escape(&format!("{} of {}", counted.join(", "), replayed.len()));
            if is_table { format!("{}\n{total}", verdicts(replayed)) } else { total }
        };
        context.output.say(&json!({ "counts": &counts }), told)?;
        let differs = |outcome: &Result<Value, Failure>| outcome.as_ref().is_ok_and(|report| !is_as_recorded(report));
        if replayed.iter().any(|(_title, outcome)| differs(outcome)) {
            Err(Failure::Differs)
        } else if counts.contains_key("error") {
            Err(Failure::Unreplayed)
        } else {
            Ok(())
        }
    }
}

impl Source {
    fn title(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Kept(id) => id.clone(),
        }
    }

    /// What it is called in JSON.
    fn member(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Kept(_) => "id",
        }
    }
}

/// Whether it is for something about this one recording, and others may do.
fn is_of_one(failure: &Failure) -> bool {
    match failure {
        Failure::Node(error) => {
            matches!(error.told(), Some(Reason::InvalidRecording | Reason::NotDeployed | Reason::PayloadTooLarge))
        }
        Failure::Unreadable { .. } | Failure::NoFile { .. } => true,
        _ => false,
    }
}
