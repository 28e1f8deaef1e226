//! The path of a call, kept short: no router, no layers, no copies of the payload.

use crate::answer::Response;
use crate::backend::Route;
use crate::body::{self, Bounds, Held};
use crate::budget::Account;
use crate::edge::{Edge, Purpose, Slot};
use crate::exchange::{self, Asked, Waiting};
use crate::percent;
use crate::reason::{Reason, Refusal, shown};
use bytes::Bytes;
use hyper::body::Body;
use hyper::header::EXPECT;
use hyper::{Method, Request, Uri};
use std::sync::Arc;

/// The status with which a backend lets a body in.
const CONTINUE: u16 = 100;

/// What the paths of calls begin with.
pub(crate) const PREFIX: &str = "/call/";

/// Answers `GET|POST /call/{function}` and `/call/{function}/{operation}`.
///
/// # Errors
///
/// Whatever is wrong with the request, or [`Asked::answer`].
pub(crate) async fn call<B>(edge: &Arc<Edge>, account: &Arc<Account>, request: Request<B>) -> Result<Response, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (function, operation) = target(request.uri().path())?;
    let is_post = request.method() == Method::POST;
    if !is_post && request.method() != Method::GET {
        return Err(Refusal::new(Reason::MethodNotAllowed, "call with GET or POST").header("allow", "GET, POST"));
    }
    let _slot = edge.admit(account, Purpose::Work)?;
    if is_post {
        let expects = request.headers().contains_key(EXPECT);
        let body = request.into_body();
        let limit = match admitted(edge, &function, &body).await? {
            Admitted::Within(limit) => limit,
            Admitted::Not(answer) => {
                // A client that asks whether to send its body is told so by the answer.
                if !expects {
                    body::discard(body).await;
                }
                return Ok(answer);
            }
        };
        let bounds = bounds(edge, limit);
        return match body::read(edge, account, body, &bounds).await {
            Ok(Held { bytes: payload, hold: _hold }) => {
                exchange::ask(edge, Route::Call { function, operation, payload }).answer().await
            }
            // The function's own limit, whose refusal is the backend's.
            Err(refusal) if refusal.reason == bounds.too_large && bounds.bytes < edge.config.max_payload_bytes => {
                exchange::ask(edge, Route::Oversized { function }).answer().await
            }
            Err(refusal) => Err(refusal),
        };
    }
    let payload = query_payload(edge, request.uri().query())?;
    // Whatever body a GET has is nobody's.
    drop(request);
    exchange::ask(edge, Route::Call { function, operation, payload }).answer().await
}

/// Whether the body of a call is read.
enum Admitted {
    /// It is, up to so many bytes.
    Within(u64),
    /// It is not; this is the call's answer.
    Not(Response),
}

/// Asks for the function before a byte of a body is read. An empty one goes to the backend at once.
async fn admitted<B>(edge: &Arc<Edge>, function: &str, body: &B) -> Result<Admitted, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Admitted::Within(u64::MAX));
    }
    if let Some(limit) = edge.backend.payload_limit(function) {
        return Ok(Admitted::Within(limit));
    }
    let answer = exchange::ask(edge, Route::Admit { function: function.to_owned() }).answer().await?;
    if answer.status == CONTINUE {
        return Ok(Admitted::Within(edge.backend.payload_limit(function).unwrap_or(u64::MAX)));
    }
    Ok(Admitted::Not(answer))
}

/// The same for a GET without a body, as far as that goes without waiting.
///
/// # Errors
///
/// As for [`call`].
pub(crate) fn get(edge: &Arc<Edge>, account: &Arc<Account>, uri: &Uri) -> Result<Got, Refusal> {
    let (function, operation) = target(uri.path())?;
    let slot = edge.admit(account, Purpose::Work)?;
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

fn bounds(edge: &Edge, limit: u64) -> Bounds {
    let most = edge.config.max_payload_bytes;
    let bytes = most.min(usize::try_from(limit).unwrap_or(usize::MAX));
    Bounds { bytes, time: edge.config.body_timeout, too_large: Reason::PayloadTooLarge, named_bytes: most }
}

fn target(path: &str) -> Result<(String, Option<String>), Refusal> {
    let mut segments = path.strip_prefix(PREFIX).unwrap_or_default().split('/');
    match (segments.next(), segments.next(), segments.next()) {
        (Some(function), None, _) if !function.is_empty() => Ok((percent::segment(function)?, None)),
        (Some(function), Some(operation), None) if !function.is_empty() && !operation.is_empty() => {
            Ok((percent::segment(function)?, Some(percent::segment(operation)?)))
        }
        _ => Err(Refusal::new(Reason::NotFound, "call with /call/FUNCTION or /call/FUNCTION/OPERATION")
            .with("path", shown(path))),
    }
}

fn query_payload(edge: &Edge, query: Option<&str>) -> Result<Bytes, Refusal> {
    let Some(query) = query else {
        return Ok(Bytes::new());
    };
    let payload = percent::parameter(query, "payload")?.unwrap_or_default();
    if payload.len() > edge.config.max_payload_bytes { Err(bounds(edge, u64::MAX).too_large()) } else { Ok(payload) }
}
