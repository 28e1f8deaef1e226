//! Why a command failed, whatever it was: with an exit code, a reason to match on, and what to do.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidepool_errors::Reason;

use crate::exit;
use crate::keys::KeyError;
use crate::node::{AddressError, NodeError};
use crate::processes::RunError;
use crate::project::{BuildError, ManifestError, NewError, WatchError};
use crate::registry::RegistryError;
use crate::toolchains::SetupError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The node's address or the token can't be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Variables of the environment are slips.
    #[error("{said}")]
    Variables {
        /// Which ones, and what was meant.
        said: String,
    },
    /// The node refused it, or did not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// `tidepool.toml` can't be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The project could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A tool chain could not be had.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The project could not be made.
    #[error(transparent)]
    New(#[from] NewError),
    /// The project's files could not be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The key that signs can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The module was not pushed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is in a registry is the node's to fetch.
    #[error("a module of a registry is signed where it is: give its signature with --field signature=…")]
    SignedElsewhere,
    /// There is nothing to sign with.
    #[error("name the file with the private key: --key FILE")]
    NoKeyNamed,
    /// A file that was named can't be read.
    #[error("{path} can't be read: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file can't be written.
    #[error("{path} can't be written: {source}")]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder has nothing to replay.
    #[error("{path} has no recordings: files that end with .tiderec")]
    NoRecordings {
        /// Which one.
        path: PathBuf,
    },
    /// A call came to something else than was recorded.
    #[error("a call came to something else than was recorded")]
    Differs,
    /// A recording of a folder could not be replayed, and no other came to something else.
    #[error("a recording could not be replayed")]
    Unreplayed,
    /// What was named is a device, a folder or the like.
    #[error("{path} is no file")]
    NoFile {
        /// What was named.
        path: PathBuf,
    },
    /// A field of a deploy that is none.
    #[error("`{field}` is no field of a deploy: write NAME=VALUE, such as instances=warm:8")]
    Field {
        /// What was given.
        field: String,
    },
    /// No method of a request for a path.
    #[error("`{method}` is no method that asks for a path: write GET, POST or the like")]
    Method {
        /// What was given.
        method: String,
    },
    /// A handler of HTTP has no operations.
    #[error("{name} is a handler of HTTP: ask it by a method and a path, as in `tidepool call {name} GET /`")]
    Handler {
        /// Which function.
        name: String,
    },
    /// Another function has no methods and paths.
    #[error(
        "{name} is not a handler of HTTP: call it by an operation, as in `tidepool call {name} OPERATION --data TEXT`"
    )]
    NotAHandler {
        /// Which function.
        name: String,
    },
    /// A handler of HTTP has responded that it failed.
    #[error("the response has the status {status}")]
    Answered {
        /// From 400 on.
        status: u16,
    },
    /// Checks of `doctor` that did not pass.
    #[error("{failed} of the checks failed")]
    Unwell {
        /// How many.
        failed: usize,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads what is written.
    #[error("the output can't be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Node(error) if error.is_refusal() => error.told().map_or(exit::REFUSED, Reason::exit),
            // It has begun to answer.
            Self::Node(NodeError::BrokenOff { .. })
            | Self::Handler { .. }
            | Self::NotAHandler { .. }
            | Self::Answered { .. } => exit::REFUSED,
            Self::Node(_) | Self::Registry(RegistryError::Unreachable { .. } | RegistryError::Nonsense { .. }) => {
                exit::NO_NODE
            }
            Self::Registry(RegistryError::Denied { .. } | RegistryError::Refused { .. }) => exit::REFUSED,
            Self::Build(BuildError::Interrupted)
            | Self::Setup(SetupError::Run(RunError::Interrupted))
            | Self::Interrupted => exit::INTERRUPTED,
            Self::Build(_) | Self::Setup(_) => exit::BUILD,
            Self::Unwell { .. } | Self::Unreplayed => exit::REFUSED,
            Self::Differs => exit::DIFFERS,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
            Self::Output(_) => exit::REFUSED,
            Self::Address(_)
            | Self::Variables { .. }
            | Self::Manifest(_)
            | Self::New(_)
            | Self::Watch(_)
            | Self::Key(_)
            | Self::Registry(_)
            | Self::SignedElsewhere
            | Self::NoKeyNamed
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::NoRecordings { .. }
            | Self::NoFile { .. }
            | Self::Method { .. }
            | Self::Field { .. } => exit::USAGE,
        }
    }

    /// Whether what the command has shown says so already.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Unwell { .. } | Self::Differs | Self::Unreplayed | Self::Answered { .. })
    }

    /// What `--json` shows of it: what the node said, or the same form for what the tool says.
    pub(crate) fn json(&self) -> Value {
        let reason = match self {
            Self::Node(error) => match error.said() {
                Some(said) => return json!({ "error": said }),
                None => error.reason(),
            },
            Self::Address(error) => error.reason(),
            Self::Variables { .. } => "unknown_variable",
            Self::Manifest(_) => "invalid_project",
            Self::Build(BuildError::Interrupted) | Self::Interrupted => "interrupted",
            Self::Build(BuildError::NoCompiler { .. }) => "no_compiler",
            Self::Setup(error) => error.reason(),
            Self::Build(_) => "build_failed",
            Self::New(_) => "not_made",
            Self::Watch(_) => "not_watched",
            Self::Registry(error) => error.reason(),
            Self::Key(_) | Self::NoKeyNamed | Self::SignedElsewhere => "no_key",
            Self::Unreadable { .. } | Self::NoFile { .. } => "unreadable",
            Self::Unwritable { .. } => "unwritable",
            Self::NoRecordings { .. } => "no_recordings",
            Self::Differs => "differs",
            Self::Unreplayed => "invalid_recording",
            Self::Field { .. } => "invalid_field",
            Self::Method { .. } => "invalid_method",
            Self::Handler { .. } => "handler",
            Self::NotAHandler { .. } => "not_a_handler",
            Self::Answered { .. } => "answered",
            Self::Unwell { .. } => "unwell",
            Self::Output(_) => "output",
        };
        match self.said() {
            Some(said) => json!({ "error": { "reason": reason, "message": self.to_string(), "output": said } }),
            None => json!({ "error": { "reason": reason, "message": self.to_string() } }),
        }
    }

    /// What a program has said that failed, if nobody has heard it yet.
    pub(crate) fn said(&self) -> Option<&str> {
        match self {
            Self::Setup(error) => error.said(),
            _ => None,
        }
    }

    /// What to do about it, if that is not in the message.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Node(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }
}
