//! Heads whose fields, or cookies, are too many.

use crate::budget::heads::MOST_FIELDS;
use crate::message::cookies;
use crate::message::refusal::Refusal;
use hyper::header::HeaderMap;
use tidepool_errors::Reason;

/// Lets a head pass, or trailers, which have no more fields than either may: a field takes many times its bytes. Nor has it more cookies:
/// each is looked at by the thread that serves the connection.
///
/// # Errors
///
/// [`Reason::TooManyHeaders`].
pub(crate) fn check(fields: &HeaderMap) -> Result<(), Refusal> {
    if fields.len() > MOST_FIELDS {
        return Err(too_many());
    }
    if !cookies::are_few(fields) {
        let most = cookies::MOST_COOKIES;
        return Err(Refusal::new(Reason::TooManyHeaders, format!("a request may have {most} cookies: send fewer")));
    }
    Ok(())
}

/// The refusal of one that has more, or names more.
pub(crate) fn too_many() -> Refusal {
    let message = format!("a request may have {MOST_FIELDS} headers, and as many behind its body: send fewer");
    Refusal::new(Reason::TooManyHeaders, message)
}
