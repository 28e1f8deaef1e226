//! `tidepool build`, and what a project is to the other commands.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, Progress, bytes};
use crate::project::{BuildError, Builds, Manifest, module};

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
    on_interrupt(sender.clone(), || Event::Interrupted);
    let began = Instant::now();
    let running = Builds::start(&manifest.build.command, folder, sender, Event::Ended)?;
    let _progress = (!output.is_json()).then(|| Progress::of(format!("building {}", manifest.name)));
    match events.recv() {
        Ok(Event::Ended(status)) => finish(status, folder, manifest, began),
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
    let wasm = module(&folder.join(&manifest.build.output))?;
    Ok(Built { wasm, took: began.elapsed() })
}

/// Has Ctrl-C and SIGTERM be an event. A system that refuses leaves them what they are: the end of the tool.
pub(crate) fn on_interrupt<E: Send + 'static>(events: Sender<E>, event: impl Fn() -> E + Send + 'static) {
    let _ = ctrlc::set_handler(move || {
        // Whoever waited for it may have ended.
        let _ = events.send(event());
    });
}
