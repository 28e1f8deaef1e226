//! The program of guests/fetch: it asks servers, and other functions, and tells what came of it.

use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

/// What is read, and written, at once.
const PIECE: u64 = 64 << 10;

/// Headers of a request by which it says how long a server may take, in ms.
const TIMES: [&str; 3] = ["x-connect", "x-first-byte", "x-between-bytes"];

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
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match path {
        "/get" => pass(out, get(&request, query, &[])),
        "/count" => text(out, 200, &count(get(&request, query, &[]))),
        "/post" => pass(out, post(&request, query)),
        "/keep" => keep(&request, out, query),
        "/leave" => leave(&request, out, query),
        "/bounce" => bounce(&request, out),
        _ => text(out, 404, "there is no such thing"),
    }
}

/// A header of a request, as text.
fn header(request: &IncomingRequest, name: &str) -> Option<String> {
    let values = request.headers().get(&name.to_string());
    values.into_iter().next().and_then(|value| String::from_utf8(value).ok())
}

/// How long a server may take, as the request says it.
fn options(request: &IncomingRequest) -> RequestOptions {
    let options = RequestOptions::new();
    let ns = |name| header(request, name)?.parse().ok().map(|ms: u64| ms * 1_000_000);
    let [connect, first_byte, between_bytes] = TIMES.map(ns);
    options.set_connect_timeout(connect).unwrap();
    options.set_first_byte_timeout(first_byte).unwrap();
    options.set_between_bytes_timeout(between_bytes).unwrap();
    options
}

/// A request to a URL, with these headers.
fn ask(method: &Method, url: &str, headers: &[(&str, &str)]) -> OutgoingRequest {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let asked = OutgoingRequest::new(Fields::from_list(&headers).unwrap());
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    asked.set_method(method).unwrap();
    asked.set_scheme(Some(&scheme)).unwrap();
    asked.set_authority(Some(authority)).unwrap();
    asked.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).unwrap();
    asked
}

fn answered(future: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    future.subscribe().block();
    future.get().unwrap().unwrap()
}

fn get(request: &IncomingRequest, url: &str, headers: &[(&str, &str)]) -> Result<IncomingResponse, ErrorCode> {
    answered(&outgoing_handler::handle(ask(&Method::Get, url, headers), Some(options(request)))?)
}

/// Sends the body of a request on, piece by piece.
fn post(request: &IncomingRequest, url: &str) -> Result<IncomingResponse, ErrorCode> {
    let asked = ask(&Method::Post, url, &[]);
    let (body, given) = (asked.body().unwrap(), request.consume().unwrap());
    let future = outgoing_handler::handle(asked, Some(options(request)))?;
    let (from, to) = (given.stream().unwrap(), body.write().unwrap());
    let (_size, failed) = copy(&from, |piece| write(&to, piece));
    drop(to);
    if failed.is_none() {
        OutgoingBody::finish(body, None)?;
    }
    answered(&future)
}

/// Passes a response on as it comes; one that there is not is a text.
fn pass(out: ResponseOutparam, response: Result<IncomingResponse, ErrorCode>) {
    let response = match response {
        Ok(response) => response,
        Err(error) => return text(out, 502, &shown(&error)),
    };
    let headers = Fields::new();
    for name in ["content-type", "location", "x-host"] {
        for value in response.headers().get(&name.to_string()) {
            headers.append(&name.to_string(), &value).unwrap();
        }
    }
    let passed = OutgoingResponse::new(headers);
    passed.set_status_code(response.status()).unwrap();
    let body = passed.body().unwrap();
    ResponseOutparam::set(out, Ok(passed));
    let given = response.consume().unwrap();
    let (from, to) = (given.stream().unwrap(), body.write().unwrap());
    let (_size, failed) = copy(&from, |piece| write(&to, piece));
    // What broke off is not passed on as if it were whole.
    if failed.is_none() {
        drop(to);
        let _ = OutgoingBody::finish(body, None);
    } else {
        trap()
    }
}

/// How many bytes a response has, and what ended them.
fn count(response: Result<IncomingResponse, ErrorCode>) -> String {
    let response = match response {
        Ok(response) => response,
        Err(error) => return shown(&error),
    };
    let body = response.consume().unwrap();
    let (size, failed) = copy(&body.stream().unwrap(), |_piece| Ok(()));
    match failed {
        None => format!("{size} bytes"),
        Some(failed) => format!("{size} bytes, {failed}"),
    }
}

/// Asks for something as often as `N=URL` says, gives none of it up, and tells what each came to.
fn keep(request: &IncomingRequest, out: ResponseOutparam, query: &str) {
    let (count, url) = query.split_once('=').unwrap();
    let asked = (0..count.parse().unwrap())
        .map(|_turn: u32| outgoing_handler::handle(ask(&Method::Get, url, &[]), Some(options(request))));
    let asked: Vec<_> = asked.collect();
    let mut kept = Vec::new();
    let mut lines = String::new();
    for future in asked {
        match future.and_then(|future| answered(&future)) {
            Ok(response) => {
                lines += &(response.status().to_string() + "\n");
                kept.push(response);
            }
            Err(error) => lines += &(shown(&error) + "\n"),
        }
    }
    text(out, 200, &lines);
}

/// Asks for something, and returns with that unfinished; what it has of it stays in the instance.
fn leave(request: &IncomingRequest, out: ResponseOutparam, url: &str) {
    let response = get(request, url, &[]);
    let told = match &response {
        Ok(response) => response.status().to_string(),
        Err(error) => shown(&error),
    };
    std::mem::forget(response);
    text(out, 200, &told);
}

/// Asks the function that `x-one` names for the same, with the two names turned round.
fn bounce(request: &IncomingRequest, out: ResponseOutparam) {
    let (one, two) = (header(request, "x-one").unwrap(), header(request, "x-two").unwrap());
    let url = format!("http://{one}.internal/bounce");
    pass(out, get(request, &url, &[("x-one", &two), ("x-two", &one)]));
}

/// Gives what comes to `take`, piece by piece: how many bytes that was, and what ended it before its end.
fn copy(from: &InputStream, mut take: impl FnMut(&[u8]) -> Result<(), StreamError>) -> (u64, Option<String>) {
    let mut size = 0;
    loop {
        match from.blocking_read(PIECE) {
            Ok(piece) => {
                size += piece.len() as u64;
                if take(&piece).is_err() {
                    return (size, Some("nobody takes more".to_string()));
                }
            }
            Err(StreamError::Closed) => return (size, None),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasi::http::types::http_error_code(&error);
                return (size, Some(code.map_or_else(|| error.to_debug_string(), |code| shown(&code))));
            }
        }
    }
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

/// An error as Rust shows it; the code for that is there once.
#[inline(never)]
fn shown(error: &ErrorCode) -> String {
    format!("{error:?}")
}

/// A whole response.
fn text(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    if write(&stream, text.as_bytes()).is_ok() {
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}
