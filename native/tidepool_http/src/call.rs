//! The path of a call, kept short: no router, no layers, no copies of the payload.

use crate::answer::Response;
use crate::backend::Route;
use crate::body::{self, Bounds};
use crate::edge::{Edge, Purpose, Slot};
use crate::exchange::{self, Asked, Waiting};
use crate::percent;
use crate::reason::{Reason, Refusal};
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, Uri};
use std::sync::Arc;

/// What the paths of calls begin with.
pub(crate) const PREFIX: &str = "/call/";

/// Answers `GET|POST /call/{function}` and `/call/{function}/{operation}`.
///
/// # Errors
///
/// Whatever is wrong with the request, or [`Asked::answer`].
pub(crate) async fn call<B>(edge: &Arc<Edge>, request: Request<B>) -> Result<Response, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (function, operation) = target(request.uri().path())?;
    let is_post = request.method() == Method::POST;
    if !is_post && request.method() != Method::GET {
        return Err(Refusal::new(Reason::MethodNotAllowed, "call with GET or POST").header("allow", "GET, POST"));
    }
    let _slot = edge.admit(Purpose::Work)?;
    if is_post {
        let held = body::read(edge, request.into_body(), &bounds(edge)).await?;
        let _hold = held.hold;
        return exchange::ask(edge, Route::Call { function, operation, payload: held.bytes }).answer().await;
    }
    let payload = query_payload(edge, request.uri().query())?;
    // Whatever body a GET has is nobody's.
    drop(request);
    exchange::ask(edge, Route::Call { function, operation, payload }).answer().await
}

/// The same for a GET without a body, as far as that goes without waiting.
///
/// # Errors
///
/// As for [`call`].
pub(crate) fn get(edge: &Arc<Edge>, uri: &Uri) -> Result<Got, Refusal> {
    let (function, operation) = target(uri.path())?;
    let slot = edge.admit(Purpose::Work)?;
    let payload = query_payload(edge, uri.query())?;
    match exchange::ask(edge, Route::Call { function, operation, payload }) {
        Asked::Over(answer) => answer.map(Got::Answer),
        Asked::Waiting(waiting) => Ok(Got::Waiting(waiting, slot)),
    }
}

/// What a GET has led to at once.
pub(crate) enum Got {
    /// The answer.
    Answer(Response),
    /// A wait for it, with its place among the requests in flight.
    Waiting(Waiting, Slot),
}

fn bounds(edge: &Edge) -> Bounds {
    let limit = edge.config.max_payload_bytes;
    Bounds { bytes: limit, time: edge.config.body_timeout, too_large: Reason::PayloadTooLarge, named_bytes: limit }
}

fn target(path: &str) -> Result<(String, Option<String>), Refusal> {
    let mut segments = path.strip_prefix(PREFIX).unwrap_or_default().split('/');
    match (segments.next(), segments.next(), segments.next()) {
        (Some(function), None, _) if !function.is_empty() => Ok((percent::segment(function)?, None)),
        (Some(function), Some(operation), None) if !function.is_empty() && !operation.is_empty() => {
            Ok((percent::segment(function)?, Some(percent::segment(operation)?)))
        }
        _ => {
            Err(Refusal::new(Reason::NotFound, "call with /call/FUNCTION or /call/FUNCTION/OPERATION")
                .with("path", path))
        }
    }
}

fn query_payload(edge: &Edge, query: Option<&str>) -> Result<Bytes, Refusal> {
    let Some(query) = query else {
        return Ok(Bytes::new());
    };
    let payload = percent::parameter(query, "payload")?.unwrap_or_default();
    if payload.len() > edge.config.max_payload_bytes { Err(bounds(edge).too_large()) } else { Ok(payload) }
}
