//! Responses that functions make, as HTTP: what their bodies have of the server meanwhile.

use crate::backend::exchange::Body;
use crate::backend::outlet::{Confine, Passed};
use crate::budget::heads;
use crate::budget::shares::CHANNEL_BYTES;
use crate::connection::state::ConnectionState;
use crate::edge::shared::Edge;
use crate::exchange::stream::{Begun, Has};
use crate::exchange::written::{Http, Written};
use crate::message::refusal::Refusal;
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What of a body is on its way at most, in bytes: what the function has written and nobody has taken.
const UNDERWAY_BYTES: usize = 2 * CHANNEL_BYTES;

/// Turns a function's response into HTTP, whose trailers are confined by what the caller says.
///
/// # Errors
///
/// [`crate::Reason::Overloaded`] when there is no room for its head, or for what of its body is underway.
pub(crate) fn passed(
    edge: &Edge,
    connection: &Arc<ConnectionState>,
    method: &Method,
    mut response: Response<Body>,
    mut begun: Begun,
    confine: Confine,
) -> Result<Http, Refusal> {
    // By HTTP/2 heads of any number wait until their client takes them, and their requests are over then.
    if connection.is_multiplexed() {
        let mut head = edge.budget.hold(&begun.slot.accounts);
        if !head.grow(heads::bytes_of(response.headers())) {
            return Err(edge.overloaded());
        }
        heads::carry(response.headers_mut(), head);
    }
    let mut hold = edge.budget.hold(&begun.slot.accounts);
    if !hold.grow(UNDERWAY_BYTES) {
        return Err(edge.overloaded());
    }
    // The function may read on when its response is over.
    if let Some(pump) = begun.pump.take() {
        pump.run_alone(connection);
    }
    let has = Has::new(hold, begun, connection);
    let bodiless = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if method == Method::HEAD || bodiless {
        return Ok(unread(response, has));
    }
    let (head, body) = response.into_parts();
    let passed = Passed::new(body, Box::new(has), connection, confine);
    Ok(Http::from_parts(head, Written::Passed(Box::new(passed))))
}

/// How long a function may go on with a body that no client gets.
const UNREAD_TIME: Duration = Duration::from_secs(1);

/// A response whose body no client gets. The function may write it all the same, for a moment.
fn unread(response: Response<Body>, has: Has) -> Http {
    let (mut head, mut body) = response.into_parts();
    // None may be what the function has left out for this method: then it says nothing of what a GET would have.
    let known = body.size_hint().exact().filter(|length| *length > 0);
    if let (Some(length), false) = (known, head.headers.contains_key(CONTENT_LENGTH)) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    has.end(true);
    tokio::spawn(timeout(UNREAD_TIME, async move { while let Some(Ok(_)) = body.frame().await {} }));
    Http::from_parts(head, Written::Whole(Full::default()))
}
