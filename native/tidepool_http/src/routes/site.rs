//! Requests for functions that handle HTTP themselves: any method, any path below theirs, whichever headers.
//!
//! On the server's own origin (`/call/NAME/...`) a response is one of many functions' and stands beside the server's own pages: no
//! browser runs its scripts as that origin's, and it sets nothing there that outlives it. Functions get no secrets that are meant for the
//! server. On a server of [`Serves::Sites`](crate::Serves::Sites) the origin is theirs.

use crate::backend::contract::Route;
use crate::backend::exchange::{Body as Piecewise, ExchangeRequest};
use crate::backend::responder::Reply;
use crate::budget::answer_window::AnswerShare;
use crate::budget::heads;
use crate::budget::shares::Hold;
use crate::connection::state::ConnectionState;
use crate::edge::access;
use crate::edge::shared::{Edge, Purpose};
use crate::exchange::body;
use crate::exchange::handover::{aborted, hand_over};
use crate::exchange::head;
use crate::exchange::passed::passed;
use crate::exchange::pump::{self, beside};
use crate::exchange::stream::Begun;
use crate::exchange::written::Http;
use crate::message::cookies;
use crate::message::percent;
use crate::message::refusal::{Refusal, shown};
use crate::routes::call;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, MAX_FORWARDS, REFRESH, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use std::sync::Arc;
use tidepool_errors::Reason;

/// What a request for a function that handles HTTP means.
pub(crate) struct Site {
    function: String,
    /// The path and the query that the function is to see.
    target: String,
    /// Whether the origin is the server's own.
    is_own: bool,
}

/// What a path below [`call::PREFIX`] means.
pub(crate) enum Meant {
    /// A request for a function that handles HTTP.
    Site(Site),
    /// A call.
    Call,
    /// One of both: no function is known here by any of its names.
    Unknown,
}

/// What the path of a call means: a function's name is one segment, or two if it is in a namespace.
pub(crate) fn of_call(edge: &Edge, uri: &Uri) -> Meant {
    let rest = uri.path().strip_prefix(call::PREFIX).unwrap_or_default();
    let (first, behind) = split(rest);
    let Ok(name) = percent::segment(first) else { return Meant::Call };
    match edge.backend.handles_http(&name) {
        Some(true) => return Meant::Site(Site { function: name, target: target(behind, uri), is_own: true }),
        Some(false) => return Meant::Call,
        None => {}
    }
    let (second, behind) = split(behind.strip_prefix('/').unwrap_or_default());
    let Ok(second) = percent::segment(second) else { return Meant::Call };
    let name = format!("{name}/{second}");
    match edge.backend.handles_http(&name) {
        Some(true) => Meant::Site(Site { function: name, target: target(behind, uri), is_own: true }),
        Some(false) => Meant::Call,
        None => Meant::Unknown,
    }
}

/// The names that a function may have which is meant by a path of a call.
pub(crate) fn names(uri: &Uri) -> Vec<String> {
    let (first, behind) = split(uri.path().strip_prefix(call::PREFIX).unwrap_or_default());
    let (second, _rest) = split(behind.strip_prefix('/').unwrap_or_default());
    let Some(first) = percent::segment(first).ok().filter(|first| !first.is_empty()) else { return Vec::new() };
    match percent::segment(second) {
        // No name has more than one slash.
        Ok(second) if !second.is_empty() && !first.contains('/') => vec![first.clone(), format!("{first}/{second}")],
        _ => vec![first],
    }
}

/// A segment, and what is behind it with its slash.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.find('/').unwrap_or(path.len()))
}

/// A path with the query of a URI.
fn target(path: &str, uri: &Uri) -> String {
    let path = if path.is_empty() { "/" } else { path };
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Whose a request is on a server of sites.
///
/// # Errors
///
/// [`Reason::NotFound`] when it is nobody's.
pub(crate) fn of_host<B>(edge: &Edge, request: &Request<B>) -> Result<Site, Refusal> {
    let uri = request.uri();
    let authority = authority(uri, request.headers())?;
    let function = edge.backend.site(authority.host(), uri.path()).ok_or_else(|| {
        let message = "no function has this as one of its routes";
        Refusal::new(Reason::NotFound, message).with("path", shown(uri.path()))
    })?;
    Ok(Site { function, target: target(uri.path(), uri), is_own: false })
}

/// What a request is for: a URI has it by HTTP/2, a header by HTTP/1.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let given = match (uri.authority(), headers.get(HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok(),
        // HTTP/1.0 needs none.
        (None, None) => Some(Authority::from_static("localhost")),
    };
    // Who asks is not part of what is asked for.
    let given = given.filter(|authority| !authority.as_str().contains('@'));
    given.ok_or_else(|| Refusal::new(Reason::InvalidHost, "the Host header is none: send the server's name or address"))
}

/// Bytes of a request's body that are read before the function asks.
const AHEAD_BYTES: usize = 64 << 10;

/// Has the function handle the request.
pub(crate) async fn serve<B>(
    edge: &Arc<Edge>,
    connection: &Arc<ConnectionState>,
    request: Request<B>,
    site: Site,
) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let (head, body) = request.into_parts();
    handle(edge, connection, head, body, site).await.unwrap_or_else(|refusal| edge.reply(connection, Err(refusal)))
}

async fn handle<B>(
    edge: &Arc<Edge>,
    connection: &Arc<ConnectionState>,
    mut head: Parts,
    body: B,
    Site { function, target, is_own }: Site,
) -> Result<Http, Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let head_of = (&head.method, &head.uri, &head.headers);
    let caller = if is_own { access::check_call(edge, connection, head_of, &function)? } else { None };
    let slot = edge.admit(edge.accounts(connection, caller.as_ref()), Purpose::Work)?;
    // It counts until the function has let go of it, which may be when its response is over.
    let held = edge.hold_head(&slot.accounts, heads::taken(&head.uri, &head.headers))?.map(Arc::new);
    let trace = edge.trace(&head.headers);
    let (body, mut pump) = if body.is_end_stream() {
        (Empty::new().map_err(|never| match never {}).boxed_unsync(), None)
    } else {
        let limit = usize::try_from(edge.backend.payload_limit(&function).unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let bounds = body::Bounds {
            bytes: limit,
            time: edge.config.body_timeout,
            too_large: Reason::PayloadTooLarge,
            named_bytes: limit,
        };
        let (reader, pump) = pump::open_ahead(edge, (connection, &slot.accounts), body, bounds, AHEAD_BYTES)?;
        (reader.boxed_unsync(), Some(pump))
    };
    let is_secure = edge.tls.is_some();
    head.uri = uri(&head, target, is_secure, held.as_ref())?;
    forget_connection(&mut head.headers)?;
    if is_own {
        withhold(&mut head.headers, edge.config.token.is_some());
    } else {
        withhold_own_cookies(&mut head.headers);
    }
    let method = head.method.clone();
    let request: Request<Piecewise> = Request::from_parts(head, body);
    let exchange = ExchangeRequest { function, request, is_secure, trace };
    let reply = hand_over(edge, Route::Exchange(Box::new(exchange))).reply();
    match beside(reply, &mut pump).await? {
        Reply::Whole(response) => {
            let share = AnswerShare::of(&slot.accounts);
            drop((slot, pump));
            Ok(edge.reply(connection, Ok((response, share))))
        }
        Reply::Passed(mut response) => {
            if is_own {
                confine(&mut response);
            } else {
                keep_own_cookies(response.headers_mut());
            }
            let confine = if is_own { confine_trailers } else { keep_to_trailers };
            passed(edge, connection, &method, response, Begun { slot, place: None, body: None, pump }, confine)
        }
        Reply::Pieces(..) => Err(aborted()),
    }
}

/// What the function is asked for, which has the hold of its head for as long as it is there.
fn uri(head: &Parts, target: String, is_secure: bool, held: Option<&Arc<Hold>>) -> Result<Uri, Refusal> {
    let authority = authority(&head.uri, &head.headers)?;
    let scheme = if is_secure { Scheme::HTTPS } else { Scheme::HTTP };
    let target = match held {
        Some(held) => heads::carrying(target, held),
        None => Bytes::from(target),
    };
    let path = PathAndQuery::from_maybe_shared(target.clone());
    let mut parts = hyper::http::uri::Parts::default();
    (parts.scheme, parts.authority, parts.path_and_query) = (Some(scheme), Some(authority), path.ok());
    Uri::from_parts(parts).map_err(|_| {
        let message = "the path is none that a function can be asked for";
        Refusal::new(Reason::NotFound, message).with("path", shown(&String::from_utf8_lossy(&target)))
    })
}

/// What the server's own pages send beside their cookie.
const OWN: [HeaderName; 2] = [HeaderName::from_static("x-tidepool"), HeaderName::from_static("x-tidepool-user")];

/// Takes out what is for the server alone: its cookies, which a browser sends to all of an origin, and its token, where it has one.
fn withhold(headers: &mut HeaderMap, has_token: bool) {
    headers.remove(COOKIE);
    for name in OWN {
        headers.remove(name);
    }
    if has_token {
        headers.remove(AUTHORIZATION);
    }
}

/// Takes out what is about the connection: what the client says that is, too (RFC 9110, 7.6.1).
///
/// # Errors
///
/// [`Reason::TooManyHeaders`] when it names more than a head may have.
fn forget_connection(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let lines = headers.get_all(CONNECTION).iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let first =
        names.by_ref().take(heads::MOST_FIELDS).filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let named: Vec<HeaderName> = first.collect();
    if names.next().is_some() {
        return Err(head::too_many());
    }
    for name in named {
        headers.remove(name);
    }
    Ok(())
}

/// Takes out the cookies of the server's own pages: a browser sends them to all ports of a host.
fn withhold_own_cookies(headers: &mut HeaderMap) {
    let others: Vec<&[u8]> = cookies::of(headers).filter(|cookie| !cookie.starts_with(access::COOKIE)).collect();
    match HeaderValue::from_bytes(&others.join(b"; ".as_slice())) {
        Ok(line) if !others.is_empty() => drop(headers.insert(COOKIE, line)),
        _ => drop(headers.remove(COOKIE)),
    }
}

/// Keeps a response from setting one of those: a browser sends a cookie without a name back as its value alone.
fn keep_own_cookies(headers: &mut HeaderMap) {
    let is_own = |line: &HeaderValue| {
        let line = line.as_bytes().trim_ascii_start();
        line.strip_prefix(b"=").map_or(line, <[u8]>::trim_ascii_start).starts_with(access::COOKIE)
    };
    if headers.get_all(SET_COOKIE).iter().any(is_own) {
        let others: Vec<HeaderValue> =
            headers.get_all(SET_COOKIE).iter().filter(|line| !is_own(line)).cloned().collect();
        headers.remove(SET_COOKIE);
        for line in others {
            headers.append(SET_COOKIE, line);
        }
    }
}

/// What a response would do to all of its origin, beyond itself.
const OF_ORIGIN: [&str; 23] = [
    "accept-ch",
    "alt-svc",
    "clear-site-data",
    "critical-ch",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "proxy-authenticate",
    "public-key-pins",
    "public-key-pins-report-only",
    "report-to",
    "reporting-endpoints",
    "sec-session-registration",
    "secure-session-challenge",
    "secure-session-registration",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "shared-storage-write",
    "strict-transport-security",
    "use-as-dictionary",
    "www-authenticate",
];

/// What is of a head alone (RFC 9110, 6.5.1): whoever merges trailers into their head would heed it.
const OF_HEAD: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// Leaves trailers what belongs there: hyper sees to that by HTTP/1 alone.
fn keep_to_trailers(trailers: &mut HeaderMap) {
    for name in OF_HEAD {
        trailers.remove(name);
    }
}

/// The same of a response that [`confine`] keeps to itself.
fn confine_trailers(trailers: &mut HeaderMap) {
    keep_to_trailers(trailers);
    forget_origin(trailers);
}

/// Takes out what would be about the whole origin.
fn forget_origin(headers: &mut HeaderMap) {
    for name in OF_ORIGIN {
        headers.remove(name);
    }
    for name in OWN {
        headers.remove(name);
    }
}

/// Keeps a response to itself: a browser takes it for one of an origin of its own. Of several policies all hold, so that the function's
/// can't undo this one. It sends nobody on: a client that follows has its token with it, and asks in its own name.
fn confine<B>(response: &mut Response<B>) {
    let is_redirect = response.status().is_redirection();
    let headers = response.headers_mut();
    forget_origin(headers);
    headers.remove(REFRESH);
    if is_redirect {
        headers.remove(LOCATION);
    }
    // Browsers may read headers of its parts as those of a response.
    let is_mixed = |kind: &HeaderValue| kind.as_bytes().to_ascii_lowercase().starts_with(b"multipart/");
    if headers.get(CONTENT_TYPE).is_some_and(is_mixed) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn cookies(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (SET_COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn no_response_sets_a_cookie_of_the_servers_own_pages_by_a_name_or_without_one() {
        let own = ["tidepool_a=b; Path=/", " tidepool_a=b", "=tidepool_a=b", " = tidepool_a=b", "tidepool_a"];
        let theirs = ["a=tidepool_a", "xtidepool_a=b", "=a=b", "==tidepool_a", ""];
        let mut headers = cookies(&[own, theirs].concat());
        keep_own_cookies(&mut headers);
        assert_eq!(headers, cookies(&theirs));
    }

    #[test]
    fn of_what_is_about_a_connection_a_client_names_no_more_than_a_head_may_have() {
        let named = |names: String| {
            let mut headers = HeaderMap::new();
            headers.insert("x-one", HeaderValue::from_static("1"));
            let Ok(names) = HeaderValue::try_from(names) else { panic!("names") };
            headers.insert(CONNECTION, names);
            forget_connection(&mut headers).map(|()| headers.contains_key("x-one")).map_err(|refusal| refusal.reason)
        };
        assert_eq!(named("close, X-One".to_owned()), Ok(false));
        assert_eq!(named("close".to_owned()), Ok(true));
        let most = heads::MOST_FIELDS - 1;
        assert_eq!(named(format!("{}x-one", "a,".repeat(most))), Ok(false));
        assert_eq!(named(format!("{},x-one", "a,".repeat(most))), Err(Reason::TooManyHeaders));
        assert_eq!(named("a,".repeat(30_000)), Err(Reason::TooManyHeaders));
    }

    #[test]
    fn on_the_servers_origin_a_response_sends_nobody_on_and_tells_where_something_was_made() {
        for (status, kept) in [
            (StatusCode::CREATED, ["content-location", "location"].as_slice()),
            (StatusCode::FOUND, &["content-location"]),
            (StatusCode::PERMANENT_REDIRECT, &["content-location"]),
        ] {
            let mut response = Response::new(());
            *response.status_mut() = status;
            for name in ["location", "content-location", "refresh"] {
                response.headers_mut().insert(name, HeaderValue::from_static("/deploy"));
            }
            confine(&mut response);
            let mut names: Vec<&str> = response
                .headers()
                .iter()
                .filter(|(_name, value)| *value == "/deploy")
                .map(|(name, _value)| name.as_str())
                .collect();
            names.sort_unstable();
            assert_eq!(names, kept, "{status}");
        }
    }

    #[test]
    fn trailers_have_nothing_of_a_head_and_on_the_servers_origin_nothing_of_that() {
        let trailers: HeaderMap = ["x-sum", "set-cookie", "content-length", "clear-site-data", "x-tidepool"]
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        let kept = |confine: fn(&mut HeaderMap)| {
            let mut trailers = trailers.clone();
            confine(&mut trailers);
            let mut names: Vec<String> = trailers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(kept(confine_trailers), ["x-sum"]);
        assert_eq!(kept(keep_to_trailers), ["clear-site-data", "x-sum", "x-tidepool"]);
    }
}
