//! `tidepool doctor`: whether all is there that the other commands need.

use std::env;
use std::ffi::OsStr;
use std::path::Path as FilePath;
use std::thread;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::project::build::{Project, path_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::node::{Node, Path};
use crate::output::Progress;
use crate::processes::RunError;
use crate::project::{Globs, Language, MANIFEST, Manifest};
use crate::toolchains::{Line, PATIENCE, Targets, compile};

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
    /// The command that mends it.
    setup: Option<String>,
    /// What Rust compiles for.
    targets: Option<Vec<&'static str>>,
}

impl Doctor {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        interrupt::heed();
        let mut checks = node(context);
        checks.extend(project(&self.project.project));
        checks.extend({
            let _progress =
                (!context.output.is_json()).then(|| Progress::of("compiling a line in each language".to_owned()));
            languages(&self.project.project)?
        });
        let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
        let value = json!({ "ok": failed == 0, "checks": checks.iter().map(Check::json).collect::<Vec<_>>() });
        context.output.say(&value, || checks.iter().map(Check::line).collect::<Vec<_>>().join("\n"))?;
        if failed == 0 { Ok(()) } else { Err(Failure::Unwell { failed }) }
    }
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, message: impl Into<String>) -> Self {
        Self { name, outcome, message: message.into(), setup: None, targets: None }
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
        let mut value = json!({ "check": self.name, "outcome": self.word(), "message": self.message });
        if let Some(members) = value.as_object_mut() {
            members.extend(self.setup.iter().map(|setup| ("setup".to_owned(), json!(setup))));
            members.extend(self.targets.iter().map(|targets| ("targets".to_owned(), json!(targets))));
        }
        value
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

/// Compiles a line in each language. One that is not there is no failure: nobody writes in all of them.
fn languages(folder: &FilePath) -> Result<Vec<Check>, Failure> {
    let outcomes = thread::scope(|scope| {
        let lines = Language::value_variants().iter().map(|language| {
            let path = path_of(*language, folder);
            (*language, path.clone(), scope.spawn(move || compile(*language, &path, Some(PATIENCE))))
        });
        // All of them begin before the first is waited for.
        let lines: Vec<_> = lines.collect();
        let ended = lines.into_iter().map(|(language, path, line)| (language, path, line.join().ok()));
        ended.collect::<Vec<_>>()
    });
    outcomes.into_iter().map(|(language, path, line)| tools(language, &path, line)).collect()
}

fn tools(language: Language, path: &OsStr, line: Option<Result<Line, RunError>>) -> Result<Check, Failure> {
    let name = language.name();
    match line {
        Some(Ok(Line::Compiles)) => {
            let check = Check::new(name, Outcome::Ok, format!("compiles, with {}", compiler(language, path)));
            if language == Language::Rust { with_targets(check, path) } else { Ok(check) }
        }
        Some(Ok(Line::Fails { said })) => {
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let message = format!("does not compile ({}): tidepool setup {name} brings what it takes", said.trim());
            let setup = Some(format!("tidepool setup {name}"));
            Ok(Check { setup, ..Check::new(name, Outcome::Warning, format!("{message}; or {}", language.elsewhere())) })
        }
        Some(Ok(Line::Late { deadline })) => {
            let (compiler, deadline) = (compiler(language, path), humantime::format_duration(deadline));
            let message =
                format!("has compiled no line in {deadline}, with {compiler}: try again when there is less to do");
            Ok(Check::new(name, Outcome::Warning, message))
        }
        Some(Err(_)) => Err(Failure::Interrupted),
        None => Ok(Check::new(name, Outcome::Failed, "the check itself has failed")),
    }
}

/// What it compiles for. A target that is missing is no failure: nobody writes for all of them.
fn with_targets(check: Check, path: &OsStr) -> Result<Check, Failure> {
    let Targets { there, missing } = Targets::of(path).map_err(|_| Failure::Interrupted)?;
    let message = format!("{}, for {}", check.message, there.join(", "));
    let message = if missing.is_empty() {
        message
    } else {
        format!("{message}; not for {}: with rustup: rustup target add {}", missing.join(", "), missing.join(" "))
    };
    Ok(Check { message, targets: Some(there), ..check })
}

/// The program that has compiled it.
fn compiler(language: Language, path: &OsStr) -> String {
    let named = env::var_os("ZIG").filter(|zig| !zig.is_empty() && language.program() == "zig");
    let found = || env::split_paths(path).map(|folder| folder.join(language.program())).find(|path| path.is_file());
    match named {
        Some(zig) => zig.to_string_lossy().into_owned(),
        None => found().map_or_else(|| language.program().to_owned(), |path| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::ffi::OsStr;
    use std::time::Duration;

    use super::{Outcome, tools};
    use crate::project::Language;
    use crate::toolchains::Line;

    #[test]
    fn a_compiler_that_is_late_is_told_of_as_late_and_no_other_is_offered_for_it() {
        let late = Line::Late { deadline: Duration::from_secs(120) };
        let check = tools(Language::Go, OsStr::new(""), Some(Ok(late))).ok().unwrap();
        assert!(matches!(check.outcome, Outcome::Warning) && check.setup.is_none(), "{}", check.message);
        assert!(check.message.contains("no line in 2m"), "{}", check.message);
    }
}
