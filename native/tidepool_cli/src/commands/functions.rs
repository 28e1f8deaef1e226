//! What is deployed.

use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::deploy::outcome;
use super::members::{ago, all, list, number, text};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::Path;
use crate::output::{Table, bytes, escape};

/// `tidepool list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those with this label alone: KEY, or KEY:VALUE; all of several have to hold
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
}

impl List {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let path = self.label.iter().fold(Path::of(&["functions"]), |path, label| path.with("label", label));
        let answer = context.node()?.get(&path)?;
        Ok(context.output.say(&answer, || report(&answer))?)
    }
}

fn report(answer: &Value) -> String {
    let mut lines = Vec::new();
    let functions = list(answer, "functions");
    if !functions.is_empty() {
        lines.push(table(functions));
    }
    for one in list(answer, "unavailable") {
        let name = escape(&text(one, "name"));
        lines.push(format!("{name} is deployed, and its module could not be loaded on this node"));
    }
    if lines.is_empty() {
        lines.push("nothing is deployed".to_owned());
    }
    lines.join("\n")
}

fn table(functions: &[Value]) -> String {
    let mut table = Table::new(&["name", "version", "abi", "engine", "instances", "size", "deployed", "description"]);
    for function in functions {
        let of = |member| text(function, member);
        table.row([
            of("name"),
            of("version"),
            of("abi"),
            of("engine"),
            of("instances"),
            number(function, "size").map_or_else(|| "-".to_owned(), bytes),
            ago(function, "deployed_at"),
            function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ]);
    }
    table.text()
}

/// `tidepool show`
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which function
    name: String,
}

impl Show {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let answer = context.node()?.get(&Path::of(&["functions", &self.name]))?;
        Ok(context.output.say(&answer, || all(&answer))?)
    }
}

/// `tidepool rm`
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Which function
    name: String,
}

impl Rm {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let answer = context.node()?.delete(&Path::of(&["functions", &self.name]))?;
        Ok(context.output.say(&answer, || format!("{} is removed", self.name))?)
    }
}

/// `tidepool versions`
#[derive(Debug, Args)]
pub(crate) struct Versions {
    /// Which function
    name: String,
}

impl Versions {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let answer = context.node()?.get(&Path::of(&["functions", &self.name, "versions"]))?;
        Ok(context.output.say(&answer, || versions(&answer))?)
    }
}

fn versions(answer: &Value) -> String {
    let mut table = Table::new(&["version", "newest", "here", "size", "deployed", "sha256"]);
    for version in list(answer, "versions") {
        let of = |member| text(version, member);
        let size = number(version, "size").map_or_else(|| "-".to_owned(), bytes);
        table.row([of("version"), of("newest"), of("here"), size, ago(version, "deployed_at"), of("sha256")]);
    }
    table.text()
}

/// `tidepool rollback`
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Which function
    name: String,
    /// Which version to go back to [default: the one before the newest]
    version: Option<u64>,
}

impl Rollback {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let path = Path::of(&["functions", &self.name, "rollback"]);
        let version = self.version.map(|version| version.to_string());
        let path = version.iter().fold(path, |path, version| path.with("version", version));
        let began = Instant::now();
        let (status, answer) = context.node()?.change(&path)?;
        Ok(context.output.say(&answer, || outcome(status, &answer, began.elapsed()))?)
    }
}
