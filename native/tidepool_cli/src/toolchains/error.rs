//! Why a tool chain could not be had.

use std::io;
use std::path::{Path, PathBuf};

use crate::processes::RunError;

/// Why a tool chain could not be had. Nothing of it is there then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The user has no home.
    #[error("there is no folder for tool chains: name one with TIDEPOOL_TOOLCHAINS, or set HOME")]
    NoFolder,
    /// A list of folders can't name it.
    #[error("{path} can't be in PATH, for it has a colon: name another folder with TIDEPOOL_TOOLCHAINS")]
    Colon {
        /// Which folder.
        path: PathBuf,
    },
    /// The system refuses it.
    #[error("{path} can't be written: {source}; TIDEPOOL_TOOLCHAINS names another folder for tool chains")]
    Unwritable {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing on the machine can fetch it.
    #[error("{what} can't be fetched here: {needs}")]
    NoClient {
        /// What.
        what: String,
        /// What there has to be, and how it gets there.
        needs: &'static str,
    },
    /// The program that fetches it has failed.
    #[error("{what} could not be fetched, for {program} ended with {status}; nothing is kept of it: try again")]
    NotFetched {
        /// What.
        what: String,
        /// Which program.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it has said.
        said: String,
    },
    /// What was fetched lacks something.
    #[error("{what} was fetched, and there is no {part} in it; nothing is kept of it")]
    Partial {
        /// What.
        what: String,
        /// What is missing.
        part: &'static str,
    },
    /// What was fetched does not compile.
    #[error("{what} was fetched, and does not compile a line here; nothing is kept of it")]
    Useless {
        /// What.
        what: String,
        /// What it has said.
        said: String,
    },
    /// A program was not run to its end.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl SetupError {
    /// That of a file or a folder.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Unwritable { path, source }
    }

    /// A word to match on.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoFolder | Self::Colon { .. } | Self::Unwritable { .. } => "no_folder",
            Self::NoClient { .. } => "no_client",
            Self::NotFetched { .. } | Self::Partial { .. } => "not_fetched",
            Self::Useless { .. } => "does_not_compile",
            Self::Run(RunError::Interrupted) => "interrupted",
            Self::Run(_) => "not_run",
        }
    }

    /// What a program has said about it.
    pub(crate) fn said(&self) -> Option<&str> {
        match self {
            Self::NotFetched { said, .. } | Self::Useless { said, .. } => Some(said),
            _ => None,
        }
    }
}
