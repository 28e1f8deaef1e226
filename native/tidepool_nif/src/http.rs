//! The HTTP edge: requests become messages, answers come back through NIFs.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_http::{Backend, Config, ContentType, Deploy, Request, Responder, Response, Route, Server, StartError};

use crate::decode::{List, Short};
use crate::node::Node;
use crate::{atoms, decode, encode, json};

/// A running edge. It stops at once when the term is gone; `http_drain` stops it in order.
pub(crate) struct ServerHandle {
    server: Arc<Server>,
    node: ResourceArc<Node>,
}

#[rustler::resource_impl]
impl Resource for ServerHandle {}

/// The way to answer one request. Dropped unanswered, the client is told so.
pub(crate) struct ResponderHandle(Mutex<Option<Responder>>);

#[rustler::resource_impl]
impl Resource for ResponderHandle {}

/// Hands requests to Elixir processes, the same one for all messages of a request.
struct Dispatchers(Vec<LocalPid>);

impl Dispatchers {
    fn send(&self, id: u64, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let count = u64::try_from(self.0.len()).unwrap_or(1).max(1);
        let turn = usize::try_from(id % count).unwrap_or(0);
        if let Some(pid) = self.0.get(turn) {
            // Sent to a dead process the responder is dropped with the message, which answers the client.
            let _ = OwnedEnv::new().send_and_clear(pid, message);
        }
    }
}

impl Backend for Dispatchers {
    fn request(&self, request: Request, responder: Responder) {
        let responder = ResourceArc::new(ResponderHandle(Mutex::new(Some(responder))));
        self.send(request.id, |env| {
            (atoms::tidepool_http(), request.id, responder, route(env, request.route)).encode(env)
        });
    }

    fn hangup(&self, id: u64) {
        self.send(id, |env| (atoms::tidepool_hangup(), id).encode(env));
    }
}

/// `{:ok, server, port}` or `{:error, reason, message}`. Requests go to `dispatchers` as
/// `{:tidepool_http, id, responder, route}`, and `{:tidepool_hangup, id}` when nobody waits for the answer any more.
#[rustler::nif(schedule = "DirtyIo")]
fn http_start<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    config: Term<'a>,
    dispatchers: List<LocalPid>,
) -> NifResult<Term<'a>> {
    let config = http_config(config)?;
    let started = Server::start(config, Arc::new(Dispatchers(dispatchers.0)), node.io());
    Ok(match started {
        Ok(server) => {
            let port = server.local_addr().port();
            let handle = ResourceArc::new(ServerHandle { server: Arc::new(server), node });
            (atoms::ok(), handle, port).encode(env)
        }
        Err(error) => (atoms::error(), start_reason(&error), error.to_string()).encode(env),
    })
}

/// Answers a request: `type` is `:json`, `:text`, `:bytes` or `:openmetrics`. A second answer is ignored.
#[rustler::nif]
fn http_answer<'a>(
    responder: ResourceArc<ResponderHandle>,
    status: Short,
    content_type: Atom,
    headers: List<(String, String)>,
    body: Binary<'a>,
) -> Atom {
    let responder = responder.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(responder) = responder {
        let content_type = match content_type {
            kind if kind == atoms::json() => ContentType::Json,
            kind if kind == atoms::text() => ContentType::Text,
            kind if kind == atoms::openmetrics() => {
                ContentType::Other("application/openmetrics-text; version=1.0.0; charset=utf-8".into())
            }
            _ => ContentType::Bytes,
        };
        let body = Bytes::copy_from_slice(body.as_slice());
        responder.answer(Response { status: status.0, content_type, headers: headers.0, body });
    }
    atoms::ok()
}

/// Stops accepting, lets requests in flight finish within `limit_ms`, and sends
/// `{:tidepool_drained, finished, cut}` to the caller.
#[rustler::nif]
fn http_drain(env: Env<'_>, server: ResourceArc<ServerHandle>, limit_ms: u64) -> Atom {
    let pid = env.pid();
    let edge = Arc::clone(&server.server);
    server.node.io().spawn(async move {
        let drained = edge.drain(decode::millis(limit_ms)).await;
        let _ = OwnedEnv::new().send_and_clear(&pid, |_| (atoms::tidepool_drained(), drained.finished, drained.cut));
    });
    atoms::ok()
}

/// What the edge counts, as a map.
#[rustler::nif]
fn http_stats<'a>(env: Env<'a>, server: ResourceArc<ServerHandle>) -> Term<'a> {
    let stats = server.server.stats();
    let refused: u64 = stats.refused.iter().map(|(_, count)| count).sum();
    encode::map(
        env,
        vec![
            (atoms::connections_open(), stats.connections_open.encode(env)),
            (atoms::requests_in_flight(), stats.requests_in_flight.encode(env)),
            (atoms::connections_accepted(), stats.connections_accepted.encode(env)),
            (atoms::requests(), stats.requests.encode(env)),
            (atoms::answered(), stats.answered.encode(env)),
            (atoms::hangups(), stats.hangups.encode(env)),
            (atoms::accept_errors(), stats.accept_errors.encode(env)),
            (atoms::refused(), refused.encode(env)),
        ],
    )
}

fn http_config(map: Term<'_>) -> NifResult<Config> {
    let address: String = decode::field(map, atoms::address())?;
    let address: IpAddr = address.parse().map_err(|_| rustler::Error::BadArg)?;
    let ms = |key| decode::field(map, key).map(decode::millis);
    Ok(Config {
        address: SocketAddr::new(address, decode::field::<Short>(map, atoms::port())?.0),
        token: decode::field(map, atoms::token())?,
        max_upload_bytes: decode::field(map, atoms::max_upload_bytes())?,
        max_payload_bytes: decode::field(map, atoms::max_payload_bytes())?,
        header_timeout: ms(atoms::header_timeout_ms())?,
        body_timeout: ms(atoms::body_timeout_ms())?,
        write_timeout: ms(atoms::write_timeout_ms())?,
        idle_timeout: ms(atoms::idle_timeout_ms())?,
        max_buffered_bytes: decode::field(map, atoms::max_buffered_bytes())?,
        max_connections: decode::field(map, atoms::max_connections())?,
        max_requests: decode::field(map, atoms::max_requests())?,
        ..Config::default()
    })
}

fn start_reason(error: &StartError) -> Atom {
    match error {
        StartError::Config(_) => atoms::config(),
        StartError::AddressInUse { .. } => atoms::address_in_use(),
        StartError::AddressNotAvailable { .. } => atoms::address_not_available(),
        StartError::NotPermitted { .. } => atoms::not_permitted(),
        StartError::Io { .. } => atoms::io(),
    }
}

fn route(env: Env<'_>, route: Route) -> Term<'_> {
    match route {
        Route::Deploy(form) => (atoms::deploy(), deploy(env, form)).encode(env),
        Route::Call { function, operation, payload } => {
            (atoms::call(), function, operation, encode::copy(env, &payload)).encode(env)
        }
        Route::List => atoms::list().encode(env),
        Route::Show { function } => (atoms::show(), function).encode(env),
        Route::Remove { function } => (atoms::remove(), function).encode(env),
        Route::Health => atoms::health().encode(env),
        Route::Metrics => atoms::metrics().encode(env),
    }
}

fn deploy(env: Env<'_>, form: Deploy) -> Term<'_> {
    encode::map(
        env,
        vec![
            (atoms::wasm(), encode::copy(env, &form.wasm)),
            (atoms::file_name(), form.file_name.encode(env)),
            (atoms::name(), form.name.encode(env)),
            (atoms::operation(), form.operation.encode(env)),
            (atoms::instances(), form.instances.encode(env)),
            (atoms::limits(), form.limits.as_ref().map(|limits| json::term(env, limits)).encode(env)),
            (atoms::query(), form.query.encode(env)),
        ],
    )
}
