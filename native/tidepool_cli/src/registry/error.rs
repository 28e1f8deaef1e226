//! Why a module was not pushed.

use std::io;
use std::path::PathBuf;

/// Why a module was not pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The tag is missing, which none stands for.
    #[error("`{text}` has no tag: write it behind a colon, as in {text}:1")]
    NoTag {
        /// What was given.
        text: String,
    },
    /// What was given is no reference.
    #[error("`{text}` is no reference: write oci://HOST/NAME:TAG")]
    Reference {
        /// What was given.
        text: String,
    },
    /// What was to be pushed is something else.
    #[error("what was to be pushed is no WebAssembly module")]
    NoModule,
    /// The file of logins can't be used.
    #[error("the logins can't be read from {path}: {source}")]
    Logins {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not there, or does not answer.
    #[error("no registry answers at {registry}: {source}")]
    Unreachable {
        /// Where it was looked for.
        registry: String,
        /// What happened.
        source: Box<ureq::Error>,
    },
    /// It wants a login, or another one.
    #[error("{registry} lets nobody push there {}", if *.known { "with the login that docker's config.json has" } else { "without a login" })]
    Denied {
        /// Who.
        registry: String,
        /// Whether there is a login.
        known: bool,
    },
    /// It says no.
    #[error("{registry} refuses {what} (status {status})")]
    Refused {
        /// Who.
        registry: String,
        /// What it was sent.
        what: &'static str,
        /// The answer's status.
        status: u16,
    },
    /// It is something else than a registry.
    #[error("what {registry} answers is not what a registry says: {what}")]
    Nonsense {
        /// Who.
        registry: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl RegistryError {
    /// A word to match on.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoTag { .. } | Self::Reference { .. } => "invalid_ref",
            Self::NoModule => "not_wasm",
            Self::Logins { .. } => "unreadable",
            Self::Unreachable { .. } => "registry_unreachable",
            Self::Denied { .. } => "registry_denied",
            Self::Refused { .. } => "registry_refused",
            Self::Nonsense { .. } => "registry_failed",
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Denied { .. } => Some(
                "log in with `docker login`, or another tool that writes config.json; helpers of docker's are not run",
            ),
            Self::Unreachable { .. } => {
                Some("a registry without TLS takes --plain-http, unless it is one of this machine")
            }
            _ => None,
        }
    }
}
