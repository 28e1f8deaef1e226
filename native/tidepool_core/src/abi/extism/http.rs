//! Requests of HTTP by a plug-in: each is made whole, and so is its response, in the words of Extism's runtime
//! (`runtime/src/pdk.rs`).
//!
//! Where that follows a redirection, as ureq does for it, so it goes here, to what is granted.

use std::collections::HashMap;
use std::fmt::Display;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, LOCATION,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde::Deserialize;
use wasmtime::{AsContextMut, Caller, Linker, StoreContextMut};

use super::data::Last;
use super::env::{block, bytes, release, unsigned};
use super::kernel::{self, kernel};
use super::shared::MODULE;
use crate::abi::outgoing::{awaited, grants, trace};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::base::limits::Limit;
use crate::base::request::exchange::Refusal;
use crate::net::error::NetError;
use crate::net::http::client::{self, Patience};
use crate::net::http::failure::Failure;
use crate::store::host_share::HostShare;
use crate::store::resting::begin_slice;

/// Longest description of a request.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Most headers of a request, as many as a response may have: each takes some ten times its bytes until there is a response.
const MAX_HEADERS: usize = 100;
/// Redirections that are followed.
const MAX_REDIRECTIONS: usize = 10;

/// A request's description.
#[derive(Deserialize)]
struct Description {
    url: String,
    #[serde(default)]
    headers: HashMap<String, String>,
    method: Option<String>,
}

/// A response, and its body up to what it may have.
type Answered = Result<Response<Collected>, Fault>;

/// A body that is there as a whole, with what of it is counted on the host.
struct Collected {
    bytes: Vec<u8>,
    _share: HostShare,
}

/// Why there is no response.
enum Fault {
    /// It is not granted.
    Denied,
    /// Its body has more bytes than it may have.
    TooLarge,
    /// There is no room on the host for its body.
    NoRoom,
    Failed(String),
}

impl Fault {
    fn failed(error: impl Display) -> Self {
        Fault::Failed(error.to_string())
    }
}

/// Offers them.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "http_request", |caller, (request, body): (i64, i64)| {
        Box::new(http_request(caller, unsigned(request), unsigned(body)))
    })?;
    linker.func_wrap(MODULE, "http_status_code", |caller: Caller<'_, State>| {
        caller.data().abi.extism.last.as_ref().map_or(0, |last| i32::from(last.status))
    })?;
    linker.func_wrap_async(MODULE, "http_headers", |caller, (): ()| Box::new(http_headers(caller)))?;
    Ok(())
}

/// Makes a request; the response's body is in the block that it returns.
async fn http_request(mut caller: Caller<'_, State>, request: u64, body: u64) -> wasmtime::Result<i64> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    store.data_mut().abi.extism.last = None;
    let request = block(&mut store, request, "invalid handle offset for http request")?;
    let json = bytes(&mut store, request, MAX_REQUEST_BYTES).await?;
    let mut described: Description = match serde_json::from_slice(&json) {
        Ok(described) => described,
        Err(error) => return Err(asking::trap(&mut store, error.to_string())),
    };
    release(&mut store, request)?;
    let mut asked = match built(&described) {
        Ok(asked) => asked,
        Err(why) => return Err(asking::trap(&mut store, why)),
    };
    // They are the request's by now.
    described.headers = HashMap::new();
    let body = block(&mut store, body, "invalid handle offset for http request body")?;
    // What goes to a server is a copy.
    let mut share = HostShare::new(&store.data().function);
    if let Some(block) = &body {
        if !share.raise_to(usize::try_from(block.length)?) {
            return Err(no_room(&mut store));
        }
        *asked.body_mut() = Full::new(bytes(&mut store, body, u64::MAX).await?.into());
    }
    let answered = followed(&mut store, asked).await;
    release(&mut store, body)?;
    let allowed = store.data().function.limits.payload_bytes;
    match answered {
        Ok(response) => {
            let text = |value: &HeaderValue| value.to_str().ok().map(ToOwned::to_owned);
            let headers = response.headers().iter();
            let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
            let last = Last { status: response.status().as_u16(), headers };
            store.data_mut().abi.extism.last = Some(Box::new(last));
            Ok(kernel::holding(&mut store, &response.body().bytes).await??.cast_signed())
        }
        Err((uri, fault)) => {
            let why = match fault {
                // As the plug-in wrote it, if it is that one.
                Fault::Denied => format!("HTTP request to {} is not allowed", uri.unwrap_or(described.url)),
                Fault::NoRoom => return Err(no_room(&mut store)),
                Fault::TooLarge => {
                    format!("HTTP response exceeds the configured maximum number of bytes: {allowed}")
                }
                Fault::Failed(why) => why,
            };
            Err(asking::trap(&mut store, why))
        }
    }
}

/// Ends the guest: the limit of what is kept for it is reached.
fn no_room(store: &mut StoreContextMut<'_, State>) -> wasmtime::Error {
    store.data_mut().meter.denied = Some(Limit::TotalMemory);
    wasmtime::Error::msg("there is no room on the host for the body of a request or of its response")
}

/// The headers of the last response as JSON, in a block; 0 of none.
async fn http_headers(mut caller: Caller<'_, State>) -> wasmtime::Result<i64> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    let Some(last) = &store.data().abi.extism.last else { return Ok(0) };
    let json = serde_json::to_vec(&last.headers)?;
    Ok(kernel::holding(&mut store, &json).await??.cast_signed())
}

/// The request that is described, without a body.
fn built(described: &Description) -> Result<Request<Full<Bytes>>, String> {
    let count = described.headers.len();
    if count > MAX_HEADERS {
        return Err(format!("HTTP request has {count} headers: {MAX_HEADERS} is the most that one may have"));
    }
    let uri = absolute(&described.url)?;
    let method = described.method.as_deref().unwrap_or("GET").to_uppercase();
    let mut request = Request::builder().method(method.as_str()).uri(uri);
    for (name, value) in &described.headers {
        request = request.header(name, value);
    }
    let mut request = request.body(Full::default()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    // The connection is the host's.
    for name in [HOST, TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("tidepool/", env!("CARGO_PKG_VERSION"))));
    Ok(request)
}

/// A URL that stands by itself. What has no scheme is relative to something, whatever it has beside.
fn absolute(url: &str) -> Result<Uri, String> {
    let scheme = url.split_once(':').map_or("", |(scheme, _rest)| scheme);
    let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    if scheme.is_empty() || !scheme.chars().all(is_scheme) {
        return Err("Invalid URL: RelativeUrlWithoutBase".into());
    }
    let uri: Uri = url.parse().map_err(|error| format!("Invalid URL: {error}"))?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err("Invalid URL: RelativeUrlWithoutBase".into());
    }
    Ok(uri)
}

/// The last response of a request and of where it leads; an error is one of another URI, if it is said.
async fn followed(
    store: &mut StoreContextMut<'_, State>,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Collected>, (Option<String>, Fault)> {
    let mut other = None;
    for _turn in 0..=MAX_REDIRECTIONS {
        let response = match asked(store, request.clone()).await {
            Ok(response) => response,
            Err(fault) => return Err((other, fault)),
        };
        match next(&request, &response) {
            Some(following) => request = following,
            None => return Ok(response),
        }
        other = Some(request.uri().to_string());
    }
    Err((other, Fault::Failed("too many redirects".into())))
}

/// Where a response leads.
fn next<B>(request: &Request<Full<Bytes>>, response: &Response<B>) -> Option<Request<Full<Bytes>>> {
    let method = request.method();
    let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let method = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER if *method == Method::HEAD => {
            Method::HEAD
        }
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => Method::GET,
        // What was sent is not sent to another.
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT if !has_body => method.clone(),
        _ => return None,
    };
    let uri = led(request.uri(), response.headers().get(LOCATION)?.to_str().ok()?)?;
    let mut headers: HeaderMap = request.headers().clone();
    for name in [AUTHORIZATION, COOKIE, CONTENT_TYPE, CONTENT_ENCODING] {
        headers.remove(name);
    }
    let mut following = Request::new(Full::default());
    (*following.method_mut(), *following.uri_mut(), *following.headers_mut()) = (method, uri, headers);
    Some(following)
}

/// A location, as one of a URI: with a scheme, with a host alone, or with a path.
fn led(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split_once('#').map_or(location, |(location, _fragment)| location);
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    // A path may have a whole URI in its query.
    if let Some(whole) = location.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some()) {
        return Some(whole);
    }
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let path = from.path();
    let path = match location.as_bytes() {
        [b'/', ..] => location.to_owned(),
        [b'?', ..] => format!("{path}{location}"),
        _ => format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _name)| folder)),
    };
    let path: PathAndQuery = path.parse().ok()?;
    Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build().ok()
}

/// The response of a server, or of another function.
async fn asked(store: &mut StoreContextMut<'_, State>, request: Request<Full<Bytes>>) -> Answered {
    let allowed = usize::try_from(store.data().function.limits.payload_bytes).unwrap_or(usize::MAX);
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let is_plain = request.uri().scheme() == Some(&Scheme::HTTP);
    let function = authority.as_deref().filter(|_host| is_plain).and_then(|host| {
        // At a port it is a server of that name.
        grants::function(store.data(), host)
    });
    let answered = match function {
        Some(function) => inside(store, function, request, allowed).await,
        None => outside(store, authority, request, allowed).await,
    };
    begin_slice(&mut *store);
    answered
}

async fn outside(
    store: &mut StoreContextMut<'_, State>,
    authority: Option<String>,
    mut request: Request<Full<Bytes>>,
    allowed: usize,
) -> Answered {
    let access = grants::access(store.data()).ok_or(Fault::Denied)?;
    if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    trace::put(request.headers_mut(), store.data().call.as_ref().and_then(|call| call.channel.trace()));
    let asked = client::send(access, request, Patience::default(), Vec::new());
    let response = asked.response().await.map_err(|failure| match failure {
        Failure::Net(NetError::NotGranted { .. } | NetError::NotAllowed { .. }) => Fault::Denied,
        failure => Fault::failed(failure),
    })?;
    collected(response, allowed, HostShare::new(&store.data().function)).await
}

async fn inside(
    store: &mut StoreContextMut<'_, State>,
    function: String,
    request: Request<Full<Bytes>>,
    allowed: usize,
) -> Answered {
    if !grants::may_call(store.data(), &function) {
        return Err(Fault::Denied);
    }
    let (asked, awaited) =
        awaited::asked(function, request.map(|body| body.map_err(|never| match never {}).boxed_unsync()));
    grants::ask(store, asked).await;
    let (response, _left) = awaited.response().await.map_err(|why| match why {
        Refusal::Denied => Fault::Denied,
        why => Fault::failed(why),
    })?;
    collected(response, allowed, HostShare::new(&store.data().function)).await
}

/// A response with its whole body, of so many bytes at most, which are counted as they come.
async fn collected<B>(response: Response<B>, allowed: usize, mut share: HostShare) -> Answered
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(Fault::failed)?.into_data() else { continue };
        let length = bytes.len() + piece.len();
        if length > allowed {
            return Err(Fault::TooLarge);
        }
        if !share.grow_to(length, allowed) {
            return Err(Fault::NoRoom);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Response::from_parts(head, Collected { bytes, _share: share }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_where_browsers_go() {
        let from: Uri = "http://one.example:8080/a/b?c=d".parse().unwrap();
        for (location, expected) in [
            ("https://two.example/x?y#z", "https://two.example/x?y"),
            ("//two.example/x", "http://two.example/x"),
            ("/x?y", "http://one.example:8080/x?y"),
            ("x", "http://one.example:8080/a/x"),
            ("?x=y", "http://one.example:8080/a/b?x=y"),
            ("/x?next=https://two.example/", "http://one.example:8080/x?next=https://two.example/"),
            ("x?next=https://two.example/", "http://one.example:8080/a/x?next=https://two.example/"),
        ] {
            assert_eq!(led(&from, location).unwrap().to_string(), expected, "{location}");
        }
    }

    #[test]
    fn what_was_sent_and_who_sent_it_is_told_to_nobody_else() {
        for (method, status, expected) in [
            ("POST", 302, Some("GET")),
            ("HEAD", 301, Some("HEAD")),
            ("DELETE", 303, Some("GET")),
            ("GET", 307, Some("GET")),
            ("POST", 307, None),
            ("GET", 304, None),
        ] {
            let request = Request::builder().method(method).uri("http://one.example/a").header(AUTHORIZATION, "secret");
            let request = request.body(Full::new(Bytes::from_static(b"body"))).unwrap();
            let response = Response::builder().status(status).header(LOCATION, "/b").body(Bytes::new()).unwrap();
            let next = next(&request, &response);
            assert_eq!(next.as_ref().map(|next| next.method().as_str()), expected, "{method} {status}");
            assert!(next.is_none_or(|next| next.headers().is_empty()));
        }
    }
}
