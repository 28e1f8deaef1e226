//! Running the build command: a group of processes that ends as a whole.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use super::component::{ComponentError, HEADER, component, is_component};
use super::lines::lines_alone;
use super::{Language, Manifest};
use crate::processes::{Group, beside};

/// Why a project could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The shell could not be started.
    #[error("the build command could not be started: {0}")]
    NotStarted(io::Error),
    /// It said that it failed.
    #[error("the build failed with {0}: it says why above")]
    Failed(ExitStatus),
    /// It said so, and nothing in the language of its compiler can be built.
    #[error(
        "the build failed with {status}: it says why above, and {} does not compile here: `tidepool setup {}` brings what it takes",
        .language.title(),
        .language.name()
    )]
    NoCompiler {
        /// How it ended.
        status: ExitStatus,
        /// Which language.
        language: Language,
    },
    /// It did not make what it should.
    #[error("the build ended well, and there is no module {path} ({source}): is `output` right?")]
    NoOutput {
        /// What should be there.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// What it has made is something else.
    #[error("{path} is no file of WebAssembly: is `output` right?")]
    NoModule {
        /// Which file.
        path: PathBuf,
    },
    /// It has made a module that was to become a component, and does not.
    #[error("{0}")]
    Component(#[from] ComponentError),
    /// The component can't be where the module is.
    #[error("the component {path} can't be written: {source}")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// A build that runs.
#[derive(Debug)]
pub(crate) struct Builds {
    group: Group,
}

impl Builds {
    /// Starts the command in a folder, with `path` for where programs are. Its end is sent to `ends`, as `ended` has it. It
    /// has no standard input, and what it writes goes to standard error, so that standard output has nothing but the tool's
    /// own.
    ///
    /// # Errors
    ///
    /// When there is no shell, or no more processes.
    pub(crate) fn start<E: Send + 'static>(
        command: &str,
        folder: &Path,
        path: &OsString,
        ends: Sender<E>,
        ended: impl FnOnce(io::Result<ExitStatus>) -> E + Send + 'static,
    ) -> Result<Self, BuildError> {
        let errors = io::stderr().as_fd().try_clone_to_owned().map_err(BuildError::NotStarted)?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(folder).env("PATH", path).stdin(Stdio::null()).stdout(errors);
        let (mut child, group) = Group::start(&mut shell).map_err(BuildError::NotStarted)?;
        thread::spawn(move || {
            let status = child.wait();
            // Whoever started it may be gone.
            let _ = ends.send(ended(status));
        });
        Ok(Self { group })
    }

    /// Ends it and all that it has started in its group, by force after a while.
    pub(crate) fn end(&self) {
        self.group.end();
    }
}

/// Removes the component that was made of a module before: compilers that look at what is there take it for what they have made.
///
/// # Errors
///
/// When it can't be removed.
pub(crate) fn clear(folder: &Path, manifest: &Manifest) -> Result<(), BuildError> {
    let path = folder.join(&manifest.build.output);
    if !manifest.build.component || manifest.build.world.is_none() || !path.is_file() || !has_component(&path) {
        return Ok(());
    }
    fs::remove_file(&path).map_err(|source| BuildError::Unwritable { path, source })
}

fn has_component(path: &Path) -> bool {
    let mut head = [0; HEADER.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && is_component(&head)
}

/// What a build has made: a module or a component, without debug data but lines. A module that says of which world it is, or whose project does, becomes a component,
/// also in its place.
///
/// # Errors
///
/// When it is not there, is no module, or becomes no component.
pub(crate) fn module(folder: &Path, manifest: &Manifest) -> Result<Vec<u8>, BuildError> {
    let path = &folder.join(&manifest.build.output);
    let none = |source| BuildError::NoOutput { path: path.to_owned(), source };
    let found = fs::metadata(path).map_err(none)?;
    if !found.is_file() {
        return Err(BuildError::NoModule { path: path.to_owned() });
    }
    let bytes = fs::read(path).map_err(none)?;
    if !bytes.starts_with(b"\0asm") {
        return Err(BuildError::NoModule { path: path.to_owned() });
    }
    let bytes = lines_alone(&bytes).into_owned();
    if !manifest.build.component {
        return Ok(bytes);
    }
    let (bytes, made) = made(bytes, path, folder, manifest)?;
    let Some(component) = made else { return Ok(bytes) };
    let replaced = replace(path, &component, found.permissions());
    replaced.map_err(|source| BuildError::Unwritable { path: path.to_owned(), source })?;
    Ok(component)
}

/// A module, and the component that is made of it, if one is. A large one takes a while, which Ctrl-C ends.
fn made(
    bytes: Vec<u8>,
    path: &Path,
    folder: &Path,
    manifest: &Manifest,
) -> Result<(Vec<u8>, Option<Vec<u8>>), BuildError> {
    let (path, folder, build) = (path.to_owned(), folder.to_owned(), manifest.build.clone());
    let made = beside(move || {
        let owned = |made| match made {
            Cow::Borrowed(_same) => None,
            Cow::Owned(component) => Some(component),
        };
        let component = component(&bytes, &path, &folder, &build).map(owned);
        (bytes, component)
    });
    let (bytes, component) = made.ok_or(BuildError::Interrupted)?;
    Ok((bytes, component?))
}

/// Another file takes the place of the one that is there: compilers have links to theirs.
fn replace(path: &Path, bytes: &[u8], permissions: Permissions) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(permissions)?;
    file.persist(path)?;
    Ok(())
}
