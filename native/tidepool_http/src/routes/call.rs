//! The path of a call, kept short: no router, no layers, no copies of the payload.

use crate::backend::contract::Route;
use crate::budget::answer_window::{AnswerShare, SizeSlot};
use crate::budget::heads;
use crate::budget::shares::Accounts;
use crate::connection::state::ConnectionState;
use crate::edge::access;
use crate::edge::endpoint::not_allowed;
use crate::edge::shared::{Edge, Purpose, Slot};
use crate::exchange::body::{self, Bounds, Held};
use crate::exchange::handover::{Exchange, PendingExchange, hand_over};
use crate::exchange::pump;
use crate::message::percent;
use crate::message::refusal::{Refusal, shown};
use crate::message::response::Response;
use bytes::Bytes;
use hyper::body::Body;
use hyper::header::EXPECT;
use hyper::{Method, Request};
use std::sync::Arc;
use tidepool_errors::Reason;

/// The status with which a backend lets a body in.
const CONTINUE: u16 = 100;
/// The status with which it says that there is no such function.
const NOT_FOUND: u16 = 404;

/// What the paths of calls begin with.
pub(crate) const PREFIX: &str = "/call/";

/// Answers `GET|POST /call/{function}` and `/call/{function}/{operation}`.
///
/// # Errors
///
/// Whatever is wrong with the request, or [`Exchange::answer`].
pub(crate) async fn call<B>(
    edge: &Arc<Edge>,
    connection: &ConnectionState,
    request: Request<B>,
) -> Result<(Response, AnswerShare), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (function, operation) = target(edge, request.uri().path())?;
    let caller = access::check_call(edge, connection, (request.method(), request.uri(), request.headers()), &function)?;
    let is_post = request.method() == Method::POST;
    if !is_post && request.method() != Method::GET {
        return Err(not_allowed(request.method(), "GET,POST"));
    }
    let mut slot = edge.admit(edge.accounts(connection, caller.as_ref()), Purpose::Work)?;
    // Its names, and a payload in its query, stay when the head goes.
    slot.hold_head(heads::uri_bytes(request.uri()))?;
    let accounts = &slot.accounts;
    let trace = edge.trace(request.headers());
    let size = edge.check_room(accounts, &function)?;
    if !is_post {
        let payload = query_payload(edge, request.uri().query())?;
        // The body of a GET is left unread.
        drop(request);
        return ask(edge, connection, (accounts, size), Route::Call { function, operation, payload, trace }).await;
    }
    let expects = request.headers().contains_key(EXPECT);
    let body = request.into_body();
    let limit = match admitted(edge, (connection, accounts), &function, &body).await? {
        Admitted::Within(limit) => limit,
        Admitted::Not(answer) => {
            // A client that asks whether to send its body is told so by the answer.
            if !expects {
                body::discard(body).await;
            }
            return Ok((answer, AnswerShare::of(accounts)));
        }
    };
    let bounds = bounds(edge, limit);
    match body::read(edge, accounts, body, &bounds).await {
        Ok(Held { bytes: payload, hold: _hold }) => {
            caller.map_or(Ok(()), |caller| access::check_again(edge, &caller))?;
            ask(edge, connection, (accounts, size), Route::Call { function, operation, payload, trace }).await
        }
        Err(refusal) => Ok((oversized(edge, function, &bounds, refusal).await?, AnswerShare::of(accounts))),
    }
}

/// The backend's refusal of a body that is above the function's own limit; any other refusal as it is.
pub(super) async fn oversized(
    edge: &Arc<Edge>,
    function: String,
    bounds: &Bounds,
    refusal: Refusal,
) -> Result<Response, Refusal> {
    if refusal.reason == bounds.too_large && bounds.bytes < edge.config.max_payload_bytes {
        hand_over(edge, Route::Oversized { function }).answer().await
    } else {
        Err(refusal)
    }
}

/// Makes the call when the window of its connection has room for the answer, which counts for these.
pub(crate) async fn ask(
    edge: &Arc<Edge>,
    connection: &ConnectionState,
    (accounts, size): (&Accounts, SizeSlot),
    call: Route,
) -> Result<(Response, AnswerShare), Refusal> {
    let share = edge.await_window(connection, accounts, size).await;
    let answer = edge.limit_large(size, || hand_over(edge, call)).await;
    answer.map(|response| (response, share))
}

/// Whether the body of a call is read.
enum Admitted {
    /// It is, up to this many bytes.
    Within(u64),
    /// It is not; this is the call's answer.
    Not(Response),
}

/// Waits for the function of a request, which is not known here, by each of the names that it may have and the caller may call; the
/// backend's refusal when there will be none.
///
/// # Errors
///
/// Whatever is wrong with the request's head, or [`Exchange::answer`].
pub(crate) async fn await_function<B>(
    edge: &Arc<Edge>,
    connection: &ConnectionState,
    request: &Request<B>,
    names: Vec<String>,
) -> Result<Option<(Response, AnswerShare)>, Refusal>
where
    B: Body,
{
    let head = (request.method(), request.uri(), request.headers());
    let (caller, names) = access::check_call_of(edge, connection, head, names)?;
    let accounts = edge.accounts(connection, caller.as_ref());
    let mut refused = None;
    for function in names {
        let mut slot = edge.admit(accounts.clone(), Purpose::Work)?;
        slot.hold_head(heads::taken(request.uri(), request.headers()))?;
        let _unread = pump::hold_unread(edge, connection, &accounts, request.body())?;
        let answer = hand_over(edge, Route::Admit { function }).answer().await?;
        if answer.status == CONTINUE {
            return Ok(None);
        }
        // By another name it may be there.
        let is_unknown = answer.status == NOT_FOUND;
        refused.get_or_insert(answer);
        if !is_unknown {
            break;
        }
    }
    // Where there is nothing of these names, the path has to be a call's.
    target(edge, request.uri().path())?;
    Ok(refused.map(|answer| (answer, AnswerShare::of(&accounts))))
}

/// Asks for the function before a byte of a body is read. An empty one goes to the backend at once.
async fn admitted<B>(
    edge: &Arc<Edge>,
    (connection, accounts): (&ConnectionState, &Accounts),
    function: &str,
    body: &B,
) -> Result<Admitted, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(Admitted::Within(u64::MAX));
    }
    if let Some(limit) = edge.backend.payload_limit(function) {
        return Ok(Admitted::Within(limit));
    }
    let _unread = pump::hold_unread(edge, connection, accounts, body)?;
    let answer = hand_over(edge, Route::Admit { function: function.to_owned() }).answer().await?;
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
pub(crate) fn get<B>(edge: &Arc<Edge>, connection: &ConnectionState, request: &Request<B>) -> Result<Got, Refusal> {
    let uri = request.uri();
    let (function, operation) = target(edge, uri.path())?;
    let caller = access::check_call(edge, connection, (request.method(), uri, request.headers()), &function)?;
    let mut slot = edge.admit(edge.accounts(connection, caller.as_ref()), Purpose::Work)?;
    slot.hold_head(heads::uri_bytes(uri))?;
    let size = edge.check_room(&slot.accounts, &function)?;
    let payload = query_payload(edge, uri.query())?;
    let call = Route::Call { function, operation, payload, trace: edge.trace(request.headers()) };
    if edge.is_large(size) {
        return Ok(Got::Large(call, slot, size));
    }
    match hand_over(edge, call) {
        Exchange::Over(answer) => {
            let answer = edge.note_size(size, answer)?;
            Ok(Got::Answer(answer, AnswerShare::of(&slot.accounts)))
        }
        Exchange::Pending(pending) => Ok(Got::Pending(pending, slot, size)),
    }
}

/// What a GET has led to at once.
pub(crate) enum Got {
    /// The answer.
    Answer(Response, AnswerShare),
    /// A wait for it, with its slot among the requests in flight and the key of its answer's size.
    Pending(PendingExchange, Slot, SizeSlot),
    /// A call with a large answer, to be made with [`ask`].
    Large(Route, Slot, SizeSlot),
}

/// What holds for the payload of a function with this limit.
pub(super) fn bounds(edge: &Edge, limit: u64) -> Bounds {
    let most = edge.config.max_payload_bytes;
    let bytes = most.min(usize::try_from(limit).unwrap_or(usize::MAX));
    Bounds { bytes, time: edge.config.body_timeout, too_large: Reason::PayloadTooLarge, named_bytes: most }
}

/// What the path of a call means. An export in an interface is two segments, or one with `#` between, encoded. A name in a namespace is one segment with its slash encoded, or two: then it is told from a name and
/// its operation by whether there is a function of the name.
fn target(edge: &Edge, path: &str) -> Result<(String, Option<String>), Refusal> {
    let mut segments = path.strip_prefix(PREFIX).unwrap_or_default().split('/');
    let segments = [segments.next(), segments.next(), segments.next(), segments.next(), segments.next()];
    match segments {
        [Some(function), None, ..] if !function.is_empty() => return Ok((percent::segment(function)?, None)),
        [Some(function), Some(operation), None, ..] if ![function, operation].contains(&"") => {
            let (function, operation) = (percent::segment(function)?, percent::segment(operation)?);
            return Ok(of_two(edge, function, operation));
        }
        [Some(first), Some(second), Some(third), None, _] if ![first, second, third].contains(&"") => {
            return Ok(of_three(edge, percent::segment(first)?, &percent::segment(second)?, percent::segment(third)?));
        }
        [Some(namespace), Some(function), Some(interface), Some(export), None]
            if ![namespace, function, interface, export].contains(&"") =>
        {
            let function = format!("{}/{}", percent::segment(namespace)?, percent::segment(function)?);
            return Ok((function, Some(within(&percent::segment(interface)?, &percent::segment(export)?))));
        }
        _ => {}
    }
    let message = "call with /call/FUNCTION, /call/FUNCTION/OPERATION or /call/FUNCTION/INTERFACE/EXPORT; a function in a namespace is NAMESPACE%2FNAME";
    Err(Refusal::new(Reason::NotFound, message).with("path", shown(path)))
}

/// Two segments are a function and its operation, as ever, unless there is no such function, and one in a namespace of that name.
fn of_two(edge: &Edge, first: String, second: String) -> (String, Option<String>) {
    if edge.backend.payload_limit(&first).is_none() {
        let whole = format!("{first}/{second}");
        if edge.backend.payload_limit(&whole).is_some() {
            return (whole, None);
        }
    }
    (first, Some(second))
}

/// Three segments are a function in a namespace and its operation, unless there is no such function, and one of the first name: then
/// they are that, and an export in an interface.
fn of_three(edge: &Edge, first: String, second: &str, third: String) -> (String, Option<String>) {
    let whole = format!("{first}/{second}");
    if edge.backend.payload_limit(&whole).is_none() && edge.backend.payload_limit(&first).is_some() {
        let export = within(second, &third);
        return (first, Some(export));
    }
    (whole, Some(third))
}

/// The operation that is an export of an interface.
fn within(interface: &str, export: &str) -> String {
    format!("{interface}#{export}")
}

fn query_payload(edge: &Edge, query: Option<&str>) -> Result<Bytes, Refusal> {
    let Some(query) = query else {
        return Ok(Bytes::new());
    };
    let payload = percent::parameter(query, "payload")?.unwrap_or_default();
    if payload.len() > edge.config.max_payload_bytes { Err(bounds(edge, u64::MAX).too_large()) } else { Ok(payload) }
}
