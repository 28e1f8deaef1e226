//! Heads whose fields are too many.

use crate::budget::heads::MOST_FIELDS;
use crate::message::refusal::Refusal;
use hyper::header::HeaderMap;
use tidepool_errors::Reason;

/// Lets a head pass, or trailers, which have no more fields than either may: a field takes many times its bytes.
///
/// # Errors
///
/// [`Reason::TooManyHeaders`].
pub(crate) fn check(fields: &HeaderMap) -> Result<(), Refusal> {
    if fields.len() <= MOST_FIELDS { Ok(()) } else { Err(too_many()) }
}

/// The refusal of one that has more, or names more.
pub(crate) fn too_many() -> Refusal {
    let message = format!("a request may have {MOST_FIELDS} headers, and as many behind its body: send fewer");
    Refusal::new(Reason::TooManyHeaders, message)
}
