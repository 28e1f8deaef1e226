//! The program of guests/http. The crate `wasi` has the imports of WASI 0.2.0, and the newest that Debian 12's compiler takes
//! has no exports yet: `handle` is exported by hand.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use wasi::clocks::monotonic_clock;
use wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
    Trailers,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

/// What is read, and written, at once.
const PIECE: u64 = 64 << 10;

/// Headers that an echo has of its request. Over HTTP/1 the second has to name the trailers.
const KEPT: [&str; 2] = ["content-type", "trailer"];

/// Requests that this instance has been given.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// What the host calls for each request.
///
/// # Safety
///
/// Both are handles that the host has given to this call, as `wasi:http/incoming-handler` has them.
#[export_name = "wasi:http/incoming-handler@0.2.0#handle"]
unsafe extern "C" fn export_handle(request: u32, out: u32) {
    handle(IncomingRequest::from_handle(request), ResponseOutparam::from_handle(out));
}

fn handle(request: IncomingRequest, out: ResponseOutparam) {
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match (request.method(), path) {
        (Method::Get, "/hello") => text(out, b"hello"),
        (Method::Get, "/headers") => text(out, &headers(&request)),
        (Method::Get, "/count") => text(out, served.to_string().as_bytes()),
        (Method::Get, "/events") => events(out, query),
        (Method::Post, "/echo") => echo(request, out),
        (Method::Post, "/sha256") => sha256(request, out),
        (Method::Get, "/hostile") => hostile(out),
        (Method::Get, "/unset") => drop(out),
        (Method::Get, "/refuse") => {
            ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("out of tides".to_string()))));
        }
        (Method::Get, "/trap-before") => trap(),
        (Method::Get, "/trap-after") => {
            let _body = begin(out, b"half");
            trap()
        }
        (Method::Get, "/loop") => loop {},
        (Method::Get, "/never") => monotonic_clock::subscribe_duration(u64::MAX / 4).block(),
        (Method::Get, "/twice") => {
            let handle = out.handle();
            text(out, b"once");
            text(unsafe { ResponseOutparam::from_handle(handle) }, b"again");
        }
        (Method::Get, "/silent") => {
            let _body = begin(out, b"one");
            monotonic_clock::subscribe_duration(u64::MAX / 4).block();
        }
        (method, path) => match (number(path, "/status/"), number(path, "/fields/")) {
            (Some(code), _) => status(out, code, &method),
            (_, Some(count)) => finish(respond(out, 200, many(count))),
            _ => finish(respond(out, 404, Fields::new())),
        },
    }
}

/// Sends the head of a response. Whoever gets its body knows it for whole when it is finished, and not when it is dropped.
fn respond(out: ResponseOutparam, code: u16, headers: Fields) -> OutgoingBody {
    let response = OutgoingResponse::new(headers);
    // What is no status is answered as an address that there is not.
    if response.set_status_code(code).is_err() {
        let _ = response.set_status_code(404);
    }
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn fields(name: &str, value: &[u8]) -> Fields {
    let fields = Fields::new();
    fields.append(&name.to_string(), &value.to_vec()).unwrap();
    fields
}

/// So many fields, of one value each.
fn many(count: u32) -> Fields {
    let entries: Vec<_> = (0..count).map(|place| (format!("x-{place}"), b"1".to_vec())).collect();
    Fields::from_list(&entries).unwrap()
}

/// The number in a path, behind its beginning.
fn number<T: std::str::FromStr>(path: &str, begin: &str) -> Option<T> {
    path.strip_prefix(begin)?.parse().ok()
}

fn finish(body: OutgoingBody) {
    let _ = OutgoingBody::finish(body, None);
}

/// A whole response.
fn text(out: ResponseOutparam, bytes: &[u8]) {
    let body = respond(out, 200, fields("content-type", b"text/plain"));
    let stream = body.write().unwrap();
    if write(&stream, bytes).is_ok() {
        drop(stream);
        finish(body);
    }
}

/// The head of a response, and the first bytes of its body, which have left this guest then.
fn begin(out: ResponseOutparam, bytes: &[u8]) -> (OutputStream, OutgoingBody) {
    let body = respond(out, 200, fields("content-type", b"text/plain"));
    let stream = body.write().unwrap();
    let _ = stream.blocking_write_and_flush(bytes);
    (stream, body)
}

/// A page that would have more than is its own: what it finds is its title.
const HOSTILE: &[u8] = b"<!doctype html><title>idle</title><script>
const tries = [
  () => fetch('/ui/').then(it => it.ok && it.text()),
  () => fetch('/functions').then(it => it.ok && it.text()),
  () => fetch('/deploy', { method: 'POST', body: new FormData() }).then(it => it.status),
  () => { document.cookie = 'mine=1'; return Promise.resolve(document.cookie); },
  () => Promise.resolve(localStorage.length + 1),
];
Promise.all(tries.map(it => { try { return it().catch(() => null); } catch { return null; } }))
  .then(found => document.title = 'found ' + JSON.stringify(found.map(it => Boolean(it))));
</script>";

fn hostile(out: ResponseOutparam) {
    let headers = [
        ("content-type", "text/html"),
        ("set-cookie", "tidepool_session=stolen; Path=/"),
        ("content-security-policy", "sandbox allow-scripts allow-same-origin"),
        ("clear-site-data", "\"*\""),
        ("strict-transport-security", "max-age=31536000"),
        ("alt-svc", "h2=\":1\""),
        ("service-worker-allowed", "/"),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let body = respond(out, 200, Fields::from_list(&headers).unwrap());
    let stream = body.write().unwrap();
    if write(&stream, HOSTILE).is_ok() {
        drop(stream);
        finish(body);
    }
}

fn status(out: ResponseOutparam, code: u16, method: &Method) {
    finish(respond(out, code, fields("x-method", method_name(method).as_bytes())));
}

/// Writes as much at a time as the host takes, and has each piece sent on.
fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let free = stream.check_write()?;
        if free == 0 {
            stream.subscribe().block();
            continue;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(free.min(PIECE) as usize));
        stream.write(piece)?;
        stream.flush()?;
        bytes = rest;
    }
    Ok(())
}

/// Gives the body of a request to `take`, piece by piece, and its trailers back; nothing when either side has gone.
fn read(request: &IncomingRequest, mut take: impl FnMut(&[u8]) -> Result<(), StreamError>) -> Option<Option<Trailers>> {
    let body = request.consume().unwrap();
    let stream: InputStream = body.stream().unwrap();
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => take(&piece).ok()?,
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return None,
        }
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    trailers.get()?.ok()?.ok()
}

fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let kept = |(name, _): &(String, Vec<u8>)| KEPT.contains(&name.as_str());
    let headers: Vec<_> = request.headers().entries().into_iter().filter(kept).collect();
    let body = respond(out, 200, Fields::from_list(&headers).unwrap());
    let stream = body.write().unwrap();
    if let Some(trailers) = read(&request, |piece| write(&stream, piece)) {
        drop(stream);
        let _ = OutgoingBody::finish(body, trailers);
    }
}

fn sha256(request: IncomingRequest, out: ResponseOutparam) {
    let mut hash = Sha256::new();
    let whole = read(&request, |piece| {
        hash.update(piece);
        Ok(())
    });
    if whole.is_some() {
        let mut line = String::new();
        for byte in hash.finalize() {
            let _ = write!(line, "{byte:02x}");
        }
        text(out, (line + "\n").as_bytes());
    }
}

fn events(out: ResponseOutparam, query: &str) {
    let count = query.split('&').find_map(|pair| pair.strip_prefix("n=")?.parse().ok()).unwrap_or(1u32);
    let body = respond(out, 200, fields("content-type", b"text/event-stream"));
    let stream = body.write().unwrap();
    for event in 1..=count {
        if stream.blocking_write_and_flush(format!("data: {event}\n\n").as_bytes()).is_err() {
            return;
        }
    }
    drop(stream);
    finish(body);
}

/// Lines of the request's headers, and of what else its head has.
fn headers(request: &IncomingRequest) -> Vec<u8> {
    let scheme = request.scheme().map(|scheme| match scheme {
        Scheme::Http => "http".to_string(),
        Scheme::Https => "https".to_string(),
        Scheme::Other(other) => other,
    });
    let mut lines = request.headers().entries();
    let head = [
        (":method", Some(method_name(&request.method()))),
        (":path", request.path_with_query()),
        (":authority", request.authority()),
        (":scheme", scheme),
    ];
    lines.extend(head.into_iter().map(|(name, value)| (name.to_string(), value.unwrap_or_default().into_bytes())));
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    lines.iter().flat_map(|(name, value)| [name.as_bytes(), b": ", value, b"\n"].concat()).collect()
}

fn method_name(method: &Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    };
    name.to_string()
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}
