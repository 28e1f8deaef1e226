//! Why a node did not do what it was asked.

use rustls::CertificateError;
use serde_json::Value;

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// It says no, or that a function failed.
    #[error("{}", message(.said))]
    Refused {
        /// What it says: an object with a `reason`.
        said: Value,
    },
    /// It is not there.
    #[error("no node answers at {address}: {source}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened.
        source: Box<ureq::Error>,
    },
    /// Nobody who is trusted vouches for its certificate.
    #[error("the certificate of {address} is not trusted: {problem}")]
    Untrusted {
        /// Who showed it.
        address: String,
        /// What is wrong with it.
        problem: CertificateError,
    },
    /// It did not answer in time.
    #[error("{address} did not answer within {seconds} s")]
    Slow {
        /// Who.
        address: String,
        /// How long it was waited for.
        seconds: f64,
    },
    /// It sends whoever asks elsewhere, where the token does not belong.
    #[error("{address} sends whoever asks to {location}, which a node does not do")]
    Redirect {
        /// Who.
        address: String,
        /// Where to.
        location: String,
    },
    /// It is something else than a node.
    #[error("what {address} answers (status {status}) is not what a node says")]
    Nonsense {
        /// Who.
        address: String,
        /// The answer's status.
        status: u16,
    },
    /// An answer that would fill the memory.
    #[error("the answer of {address} is longer than {limit_bytes} bytes")]
    TooLong {
        /// Who.
        address: String,
        /// What is taken.
        limit_bytes: u64,
    },
}

/// The node's own words, which are stable no further than their `reason`.
fn message(said: &Value) -> String {
    let reason = said.get("reason").and_then(Value::as_str).unwrap_or("unknown");
    match said.get("message").and_then(Value::as_str) {
        Some(message) => format!("{message} ({reason})"),
        None => reason.to_owned(),
    }
}

impl NodeError {
    /// Whether the node has said no, and not somebody or something on the way to it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// What the node said.
    pub(crate) fn said(&self) -> Option<&Value> {
        match self {
            Self::Refused { said } => Some(said),
            _ => None,
        }
    }

    /// A word to match on.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused { said } => said.get("reason").and_then(Value::as_str).unwrap_or("unknown"),
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Slow { .. } => "no_answer",
            Self::Redirect { .. } => "redirected",
            Self::Nonsense { .. } | Self::TooLong { .. } => "no_node",
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { .. } => of_reason(self.reason()),
            Self::Unreachable { .. } => Some("start it, or name another with --url or TIDEPOOL_URL"),
            Self::Untrusted { problem, .. } if is_of_an_authority(problem) => Some(
                "a node's own can't be an authority's: make one with `openssl req -addext basicConstraints=critical,CA:FALSE`",
            ),
            Self::Untrusted { .. } => {
                Some("if it is the node that you mean, name a file of who vouches for it with --ca")
            }
            Self::Slow { .. } => Some("wait longer with --timeout, as in --timeout 5m"),
            Self::Redirect { .. } => {
                Some("if that is the node, name it with --url or TIDEPOOL_URL: it was sent nothing")
            }
            Self::Nonsense { .. } | Self::TooLong { .. } => {
                Some("check --url and TIDEPOOL_URL: tidepool doctor says more")
            }
        }
    }
}

/// As `openssl req -x509` makes them, which says no more of it than this name.
fn is_of_an_authority(problem: &CertificateError) -> bool {
    matches!(problem, CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity"))
}

fn of_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "unauthorized" => "set TIDEPOOL_TOKEN to a token of the node, or name a file that has it with --token-file",
        "forbidden" => "the token does not open this: ask whoever made it for another",
        "not_deployed" => "tidepool list shows what is deployed",
        "unknown_version" => "tidepool versions NAME shows which are kept",
        "unknown_host" => "name the node by its address, or add the name to its setting `hosts`",
        "overloaded" | "not_ready" | "draining" => "try again in a second",
        "quota" => "try again when others of its namespace are done, or have the node's setting `namespaces` raised",
        "not_spread" => "it is deployed here; tidepool status shows which nodes are missing",
        "timeout" => "its limits say how long it may take: tidepool show NAME",
        "not_wasm" | "component" => "name the core module that the build makes: `output` in tidepool.toml",
        "missing_import" => "the module asks for what no host offers: build it as docs/guests.md says",
        "unknown_abi" => "build it as docs/guests.md says: a waPC guest or a WASI command",
        "too_large" | "payload_too_large" => "send less, or raise the node's limit",
        "unsigned" => "sign it with --key FILE: the node's setting deploy_keys says whose signatures count",
        "token_exists" => "tidepool token list shows them; tidepool token revoke NAME ends one",
        "not_a_class" => "deploy it with the field actor=true",
        "not_a_program" => "call it instead: tidepool call NAME",
        _ => return None,
    })
}
