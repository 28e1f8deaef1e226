//! `tidepool build`, and what a project is to the other commands.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, Progress, bytes};
use crate::project::{BuildError, Builds, Language, Manifest, clear, module};
use crate::toolchains::{Line, PATIENCE, Toolchains, compile};

/// Where a project is.
#[derive(Debug, Args)]
pub(crate) struct Project {
    /// The folder with tidepool.toml
    #[arg(long, short = 'C', value_name = "FOLDER", default_value = ".")]
    pub(crate) project: PathBuf,
}

/// `tidepool build`
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    project: Project,
}

impl Build {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let folder = &self.project.project;
        let manifest = Manifest::read(folder)?;
        let Built { wasm, took } = build(context.output, folder, &manifest)?;
        let output = folder.join(&manifest.build.output);
        let ms = took.as_millis() as u64;
        let value = json!({ "built": output, "size": wasm.len(), "build_ms": ms });
        let size = bytes(wasm.len() as u64);
        Ok(context.output.say(&value, || format!("built {} ({size}) in {ms} ms", output.display()))?)
    }
}

/// What came of a build.
#[derive(Debug)]
pub(crate) struct Built {
    /// The module.
    pub(crate) wasm: Vec<u8>,
    /// How long it took.
    pub(crate) took: Duration,
}

enum Event {
    Ended(io::Result<ExitStatus>),
    Interrupted,
}

/// Builds a project. Ctrl-C ends what it has started.
///
/// # Errors
///
/// When the command fails, or makes no module.
pub(crate) fn build(output: Output, folder: &Path, manifest: &Manifest) -> Result<Built, BuildError> {
    let (sender, events) = channel();
    interrupt::tell(sender.clone(), || Event::Interrupted);
    let began = Instant::now();
    let path = Toolchains::of_user().path();
    clear(folder, manifest)?;
    let running = Builds::start(&manifest.build.command, folder, &path, sender, Event::Ended)?;
    let _progress = (!output.is_json()).then(|| Progress::of(format!("building {}", manifest.name)));
    match events.recv() {
        Ok(Event::Ended(status)) => {
            finish(status, folder, manifest, began).map_err(|error| explain(error, folder, manifest))
        }
        Ok(Event::Interrupted) | Err(_) => {
            running.end();
            Err(BuildError::Interrupted)
        }
    }
}

/// What came of a build whose command has ended.
///
/// # Errors
///
/// When it failed, or made no module.
pub(crate) fn finish(
    status: io::Result<ExitStatus>,
    folder: &Path,
    manifest: &Manifest,
    began: Instant,
) -> Result<Built, BuildError> {
    let status = status.map_err(BuildError::NotStarted)?;
    if !status.success() {
        return Err(BuildError::Failed(status));
    }
    let wasm = module(folder, manifest)?;
    Ok(Built { wasm, took: began.elapsed() })
}

/// Tells of a build that failed whether it can't have done well, for want of a compiler: by compiling a line, for what the
/// compilers say differs, and a command that is not found may be another. Of a line that takes too long nothing is told.
pub(crate) fn explain(error: BuildError, folder: &Path, manifest: &Manifest) -> BuildError {
    let BuildError::Failed(status) = error else { return error };
    let Some(language) = Language::of_command(&manifest.build.command) else { return error };
    match compile(language, &path_of(language, folder), Some(PATIENCE)) {
        Ok(Line::Compiles | Line::Late { .. }) => error,
        Ok(Line::Fails { .. }) => BuildError::NoCompiler { status, language },
        Err(_) => BuildError::Interrupted,
    }
}

/// Where a project's build finds programs. What npm has installed for a project is for that one.
pub(crate) fn path_of(language: Language, folder: &Path) -> OsString {
    let path = Toolchains::of_user().path();
    let own = std::path::absolute(folder.join("node_modules/.bin")).ok();
    match own.filter(|own| language == Language::Assemblyscript && own.is_dir()) {
        Some(own) => env::join_paths([own].into_iter().chain(env::split_paths(&path))).unwrap_or(path),
        None => path,
    }
}
