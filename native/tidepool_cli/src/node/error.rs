//! Why a node did not do what it was asked.

use rustls::CertificateError;
use serde_json::Value;
use tidepool_errors::{Reason, Retry};

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
    /// The body of a response has no end.
    #[error("the response of {address} broke off after {bytes} bytes: {source}")]
    BrokenOff {
        /// Who.
        address: String,
        /// What came before.
        bytes: u64,
        /// What happened.
        source: Box<ureq::Error>,
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

    /// The reason that the node gave, if this version knows it.
    pub(crate) fn told(&self) -> Option<Reason> {
        self.said().and_then(|said| said.get("reason")).and_then(Value::as_str).and_then(Reason::named)
    }

    /// Whether it may be otherwise in a moment.
    pub(crate) fn passes(&self) -> bool {
        let Some(said) = self.said() else { return true };
        let kind = |reason: Reason| said.get(reason.name()).and_then(Value::as_str);
        self.told().is_some_and(|reason| reason.retry(kind(reason)) == Retry::Soon)
    }

    /// A word to match on.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused { said } => said.get("reason").and_then(Value::as_str).unwrap_or("unknown"),
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Slow { .. } => "no_answer",
            Self::Redirect { .. } => "redirected",
            Self::BrokenOff { .. } => "broken_off",
            Self::Nonsense { .. } | Self::TooLong { .. } => "no_node",
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { .. } => self.told().and_then(Reason::hint),
            Self::Unreachable { .. } => Some("start it, or name another with --url or TIDEPOOL_URL"),
            Self::Untrusted { problem, .. } if is_of_an_authority(problem) => Some(
                "a node's own can't be an authority's: make one with `openssl req -addext basicConstraints=critical,CA:FALSE`",
            ),
            Self::Untrusted { .. } => {
                Some("if it is the node that you mean, name a file of who vouches for it with --ca")
            }
            Self::Slow { .. } => Some("wait longer with --timeout, as in --timeout 5m"),
            Self::BrokenOff { .. } => {
                Some("the function was stopped while it answered, or the connection was lost: the node's log says more")
            }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(said: Value) -> NodeError {
        NodeError::Refused { said }
    }

    #[test]
    fn every_reason_that_a_node_may_give_has_the_hint_and_the_patience_of_its_row() {
        for reason in Reason::ALL.iter().copied() {
            let error = refused(json!({ "reason": reason.name() }));
            assert_eq!((error.told(), error.hint()), (Some(reason), reason.hint()), "{}", reason.name());
            assert_eq!(error.passes(), reason.retry(None) == Retry::Soon, "{}", reason.name());
            for kind in reason.kinds() {
                let error = refused(json!({ "reason": reason.name(), reason.name(): kind }));
                assert_eq!(error.passes(), reason.retry(Some(kind)) == Retry::Soon, "{} {kind}", reason.name());
            }
        }
    }

    #[test]
    fn a_reason_of_a_newer_nodes_is_a_refusal_without_a_hint_that_does_not_pass() {
        let error = refused(json!({ "reason": "of_another_version" }));
        assert!(error.is_refusal() && !error.passes());
        assert_eq!((error.told(), error.hint(), error.reason()), (None, None, "of_another_version"));
    }
}
