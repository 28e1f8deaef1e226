//! `tidepool watch`: from a saved change to the new version in the running node.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use notify::Event as Change;
use serde_json::{Value, json};

use super::build::{Built, Project, explain, finish};
use crate::commands::access::sign::Signing;
use crate::commands::deploy::{fields, outcome, send, signed};
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt;
use crate::node::{Node, Path};
use crate::output::{Progress, bytes};
use crate::project::{BuildError, Builds, Files, Globs, Manifest, Watcher, clear};
use crate::toolchains::Toolchains;

/// What changes all the time is built after so many times what is waited for.
const MOST_QUIET_TIMES: u32 = 20;

/// `tidepool watch`
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    project: Project,
    /// How long nothing more has to change before a build begins
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    debounce: Duration,
    #[command(flatten)]
    signing: Signing,
}

enum Event {
    Changed(Change),
    Ended(io::Result<ExitStatus>),
    Interrupted,
}

impl Watch {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let folder = &self.project.project;
        let failed = |source| Failure::Unreadable { path: folder.clone(), source };
        let root = fs::canonicalize(folder).map_err(failed)?;
        let (sender, events) = channel();
        interrupt::tell(sender.clone(), || Event::Interrupted);
        let heard = sender.clone();
        let watcher = Watcher::new(&root, move |change| {
            // At the end nobody listens any more.
            let _ = heard.send(Event::Changed(change));
        })?;
        let manifest = Manifest::read(&root)?;
        let globs = Globs::of(&root, &manifest)?;
        let node = context.node()?;
        let (quiet, files) = (self.debounce, Files::default());
        let signing = &self.signing;
        let compiles = false;
        let mut session =
            Session { context, signing, node, root, quiet, sender, events, watcher, globs, files, compiles };
        session.files = session.watcher.look(&session.globs, &Files::default())?;
        let count = session.files.len();
        session.tell(&json!({ "event": "watching", "files": count }), || {
            format!("watching {count} files of {}; Ctrl-C ends it", manifest.name)
        })?;
        session.run()
    }
}

/// A watched project.
struct Session<'a> {
    context: &'a Context,
    signing: &'a Signing,
    node: Node,
    root: PathBuf,
    quiet: Duration,
    sender: Sender<Event>,
    events: Receiver<Event>,
    watcher: Watcher,
    globs: Globs,
    /// The sources as they were when the last build began.
    files: Files,
    /// Whether there is a compiler, as far as is known: what fails then fails for its sources.
    compiles: bool,
}

impl Session<'_> {
    /// Builds, deploys, and waits for changes, until it is interrupted.
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            match self.round() {
                Ok(()) => {}
                Err(
                    failure @ (Failure::Interrupted | Failure::Build(BuildError::Interrupted) | Failure::Output(_)),
                ) => {
                    return Err(failure);
                }
                // The version before goes on, and the next change may be better.
                Err(failure) => self.failed(&failure)?,
            }
            self.changed()?;
        }
    }

    fn round(&mut self) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.root)?;
        let Built { wasm, took } = self.build(&manifest)?;
        let ended = Instant::now();
        let size = wasm.len();
        self.tell(&json!({ "event": "built", "build_ms": took.as_millis() as u64, "size": size }), || {
            format!("built {} in {} ms", bytes(size as u64), took.as_millis())
        })?;
        let fields = signed(self.signing, fields(&manifest)?, &wasm)?;
        let (status, answer, _request) = send(&self.node, &Path::of(&["deploy"]), &fields, Some(&wasm))?;
        let swap = ended.elapsed();
        let event = json!({
            "event": if status == 201 { "deployed" } else { "unchanged" },
            "name": answer.get("name"),
            "version": answer.get("version"),
            "swap_ms": swap.as_millis() as u64,
        });
        self.tell(&event, || outcome(status, &answer, swap))
    }

    /// Runs the build. What changes meanwhile is looked at when it has ended.
    fn build(&mut self, manifest: &Manifest) -> Result<Built, Failure> {
        let began = Instant::now();
        // What was set up meanwhile is found.
        let path = Toolchains::of_user().path();
        clear(&self.root, manifest)?;
        let running = Builds::start(&manifest.build.command, &self.root, &path, self.sender.clone(), Event::Ended)?;
        let _progress = (!self.context.output.is_json()).then(|| Progress::of(format!("building {}", manifest.name)));
        loop {
            match self.events.recv() {
                Ok(Event::Ended(status)) => {
                    let built = finish(status, &self.root, manifest, began);
                    return Ok(built
                        .map_err(|error| self.explained(error, manifest))
                        .inspect(|_| self.compiles = true)?);
                }
                Ok(Event::Changed(change)) => {
                    self.watcher.concerns(&self.globs, &change);
                }
                Ok(Event::Interrupted) | Err(_) => {
                    running.end();
                    return Err(Failure::Interrupted);
                }
            }
        }
    }

    /// A compiler that has compiled once is there.
    fn explained(&mut self, error: BuildError, manifest: &Manifest) -> BuildError {
        if self.compiles {
            return error;
        }
        let error = explain(error, &self.root, manifest);
        self.compiles = !matches!(error, BuildError::NoCompiler { .. });
        error
    }

    /// Waits until the sources hold something else than when the last build began.
    fn changed(&mut self) -> Result<(), Failure> {
        // What was saved during the build.
        let mut begun = !self.look()?.same(&self.files);
        loop {
            self.heard(begun)?;
            let files = self.look()?;
            if !files.same(&self.files) {
                self.files = files;
                return Ok(());
            }
            begun = false;
        }
    }

    fn look(&mut self) -> Result<Files, Failure> {
        // A description that can't be read is told of by the build that its change makes.
        if let Ok(globs) = Manifest::read(&self.root).and_then(|manifest| Globs::of(&self.root, &manifest)) {
            self.globs = globs;
        }
        Ok(self.watcher.look(&self.globs, &self.files)?)
    }

    /// Waits for an event of the sources, unless there was one, and until there have been none for a while.
    fn heard(&mut self, begun: bool) -> Result<(), Failure> {
        let mut since = begun.then(Instant::now);
        loop {
            let event = match since {
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) if since.elapsed() > self.quiet.saturating_mul(MOST_QUIET_TIMES) => return Ok(()),
                Some(_) => self.events.recv_timeout(self.quiet),
            };
            match event {
                Ok(Event::Changed(change)) => {
                    if self.watcher.concerns(&self.globs, &change) {
                        since.get_or_insert_with(Instant::now);
                    }
                }
                Ok(Event::Ended(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Ok(Event::Interrupted) | Err(RecvTimeoutError::Disconnected) => return Err(Failure::Interrupted),
            }
        }
    }

    fn tell(&self, event: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        Ok(self.context.output.say(event, text)?)
    }

    fn failed(&self, failure: &Failure) -> Result<(), Failure> {
        let Value::Object(mut event) = failure.json() else { return Ok(()) };
        event.insert("event".to_owned(), "failed".into());
        self.context.output.failed(&Value::Object(event), &failure.to_string(), failure.hint())?;
        self.context.output.note("the version before goes on; waiting for a change");
        Ok(())
    }
}
