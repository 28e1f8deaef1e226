//! `tidepool doctor`: whether all is there that the other commands need.

use std::env;
use std::path::Path as FilePath;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::build::Project;
use crate::context::Context;
use crate::failure::Failure;
use crate::node::{Node, Path};
use crate::project::{Globs, Language, MANIFEST, Manifest};

/// `tidepool doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    project: Project,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    message: String,
}

impl Doctor {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut checks = node(context);
        checks.extend(project(&self.project.project));
        checks.extend(Language::value_variants().iter().map(|language| tools(*language)));
        let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
        let value = json!({ "ok": failed == 0, "checks": checks.iter().map(Check::json).collect::<Vec<_>>() });
        context.output.say(&value, || checks.iter().map(Check::line).collect::<Vec<_>>().join("\n"))?;
        if failed == 0 { Ok(()) } else { Err(Failure::Unwell { failed }) }
    }
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, message: impl Into<String>) -> Self {
        Self { name, outcome, message: message.into() }
    }

    fn failed(name: &'static str, failure: &Failure) -> Self {
        let hint = failure.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        Self::new(name, Outcome::Failed, format!("{failure}{hint}"))
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "failed",
        }
    }

    fn json(&self) -> Value {
        json!({ "check": self.name, "outcome": self.word(), "message": self.message })
    }

    fn line(&self) -> String {
        format!("{:<8} {:<14} {}", self.word(), self.name, crate::output::escape(&self.message))
    }
}

fn node(context: &Context) -> Vec<Check> {
    let node = match context.node() {
        Ok(node) => node,
        Err(error) => return vec![Check::failed("node", &error.into())],
    };
    let mut checks = match node.observe(&Path::of(&["health"])) {
        Ok((_status, health)) if health.get("status").is_some_and(|status| status == "ok") => {
            vec![Check::new("node", Outcome::Ok, format!("{} answers", node.address()))]
        }
        Ok((_status, health)) => {
            let said = health.get("status").unwrap_or(&health);
            return vec![Check::new("node", Outcome::Failed, format!("{} is not ready: {said}", node.address()))];
        }
        Err(error) => return vec![Check::failed("node", &error.into())],
    };
    checks.push(token(&node));
    if node.has_token() && node.address().is_in_the_clear() {
        let message = format!("whoever is between here and {} can read the token: use https", node.address());
        checks.push(Check::new("transport", Outcome::Warning, message));
    }
    checks
}

fn token(node: &Node) -> Check {
    let with = if node.has_token() { "the node knows the token" } else { "it takes changes without a token" };
    match node.knows_token() {
        Ok(()) => Check::new("token", Outcome::Ok, with),
        Err(error) => Check::failed("token", &error.into()),
    }
}

fn project(folder: &FilePath) -> Vec<Check> {
    if !folder.join(MANIFEST).exists() {
        return vec![Check::new("project", Outcome::Ok, "there is none in this folder")];
    }
    let manifest = match Manifest::read(folder) {
        Ok(manifest) => manifest,
        Err(error) => return vec![Check::failed("project", &error.into())],
    };
    match Globs::of(folder, &manifest) {
        Ok(_globs) => vec![Check::new(
            "project",
            Outcome::Ok,
            format!("{} is built by: {}", manifest.name, manifest.build.command),
        )],
        Err(error) => vec![Check::failed("project", &error.into())],
    }
}

/// A language that is not there is no failure: nobody writes in all of them.
fn tools(language: Language) -> Check {
    let (program, how) = language.needs();
    let name = match language {
        Language::Rust => "rust",
        Language::Assemblyscript => "assemblyscript",
        Language::Zig => "zig",
        Language::Go => "go",
        Language::C => "c",
    };
    let there =
        env::var_os("PATH").is_some_and(|paths| env::split_paths(&paths).any(|folder| folder.join(program).is_file()));
    if there || (program == "zig" && env::var_os("ZIG").is_some()) {
        Check::new(name, Outcome::Ok, format!("{program} is there"))
    } else {
        Check::new(name, Outcome::Warning, format!("{program} is not there: {how}"))
    }
}
