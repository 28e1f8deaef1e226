//! What the ways to fetch a tool chain share.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SetupError;
use crate::processes::{Ran, RunError, run};

/// A tool chain that is being fetched.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// What messages call it.
    pub(crate) what: String,
    /// The folder that becomes the tool chain.
    pub(crate) into: PathBuf,
    /// A folder for what is needed meanwhile.
    pub(crate) scratch: PathBuf,
    /// Where programs are.
    pub(crate) path: &'a OsStr,
}

impl Recipe<'_> {
    /// Makes its folders.
    ///
    /// # Errors
    ///
    /// When the disk is full, say.
    pub(crate) fn begin(&self) -> Result<(), SetupError> {
        fs::create_dir_all(self.into.join("bin")).map_err(SetupError::at(&self.into))?;
        fs::create_dir_all(&self.scratch).map_err(SetupError::at(&self.scratch))
    }

    /// A program that is looked for where programs are. What it needs for a while it has in the scratch folder, which is on
    /// the disk that the tool chain will be on.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", self.path).env("TMPDIR", &self.scratch).current_dir(&self.scratch);
        command
    }

    /// Whether a program is there, and does well.
    ///
    /// # Errors
    ///
    /// When there was Ctrl-C.
    pub(crate) fn runs(&self, command: &mut Command) -> Result<Option<String>, SetupError> {
        match run(command, None) {
            Ok(Ran { status, said }) => Ok(status.success().then_some(said)),
            Err(RunError::Interrupted) => Err(RunError::Interrupted.into()),
            Err(_) => Ok(None),
        }
    }

    /// Runs a program that fetches.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(crate) fn run(&self, program: &'static str, command: &mut Command) -> Result<String, SetupError> {
        let Ran { status, said } = run(command, None)?;
        if status.success() {
            return Ok(said);
        }
        Err(SetupError::NotFetched { what: self.what.clone(), program, status, said })
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// When the disk is full, say.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<(), SetupError> {
        fs::write(path, text).map_err(SetupError::at(path))
    }

    /// Makes a program of `bin`: lines for the shell, in which `$here` is the tool chain's folder, wherever that is.
    ///
    /// # Errors
    ///
    /// When the disk is full, say.
    pub(crate) fn program(&self, name: &str, lines: &str) -> Result<(), SetupError> {
        let path = self.into.join("bin").join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path);
        file.and_then(|mut file| write!(file, "#!/bin/sh\nhere=${{0%/*}}/..\n{lines}\n")).map_err(SetupError::at(&path))
    }

    /// Whether a file of the tool chain has been fetched.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub(crate) fn expect(&self, part: &'static str) -> Result<(), SetupError> {
        if self.into.join(part).is_file() {
            return Ok(());
        }
        Err(SetupError::Partial { what: self.what.clone(), part })
    }
}
