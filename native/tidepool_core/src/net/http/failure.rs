//! Why a request has no response, or not all of one.

use std::error::Error;
use std::io;

use super::heads::MAX_HEADS;
use crate::net::error::NetError;

/// Shown, it says what went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Net(NetError),
    #[error("connecting takes longer than it may")]
    ConnectTimeout,
    #[error("the response begins later than it may")]
    FirstByteTimeout,
    #[error("the response pauses for longer than it may")]
    BetweenBytesTimeout,
    #[error("more than {MAX_HEADS} heads of 1xx come before the response")]
    Heads,
    #[error("the URI is none of a server")]
    Uri,
    #[error("{}", shown(.0))]
    Http(hyper::Error),
}

/// hyper's own errors keep what is behind them to themselves.
fn shown(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Failure::Http(error)
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Failure::Net(error)
    }
}

/// What is behind an error of hyper's, or of a body that it was given.
pub(crate) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An error of the system's that holds another is passed through.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}
