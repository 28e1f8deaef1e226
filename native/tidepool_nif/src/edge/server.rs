//! The HTTP edge: started, drained, counted. What becomes of its requests is in `edge/request.rs`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_http::{
    BodyRule, Config, Endpoint, Hash, Identity, NamedPem, Scope, Server, Serves, StartError, Terms, TlsError, Token,
    Unfit,
};

use crate::edge::request::{Dispatchers, Resources};
use crate::edge::sampling::Sampling;
use crate::node::handle::Node;
use crate::terms::decode::{List, Short};
use crate::terms::{atoms, decode, encode};

// Bounds of the edge that are no settings.
/// Largest head of a request.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Time for the whole body of a deploy.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// HTTP/2 streams open at once on one connection.
const MAX_STREAMS: u32 = 128;
/// What `Retry-After` says on a 503.
const RETRY_AFTER_S: u32 = 1;

/// A running edge. It stops at once when the term is gone; `http_drain` stops it in order.
pub(crate) struct ServerHandle {
    server: Arc<Server>,
    node: ResourceArc<Node>,
}

#[rustler::resource_impl]
impl Resource for ServerHandle {}

/// `{:ok, server, port}` or `{:error, reason, message}`. Requests that are not answered where they arrive go to
/// `dispatchers`, those for the node's health to the first of several, and no others to that, as `{:tidepool_http, queue}`, sent for the first that `http_unannounced` has not counted, and
/// `{:tidepool_hangup, pid}` when the client is gone whose request that process has taken.
#[rustler::nif(schedule = "DirtyIo")]
fn http_start<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    config: Term<'a>,
    dispatchers: List<LocalPid>,
) -> NifResult<Term<'a>> {
    let (endpoints, handlers) = endpoints(decode::field::<List<Term<'_>>>(config, atoms::endpoints())?.0)?;
    let identity = decode::field::<Option<Pem<'_>>>(config, atoms::tls())?;
    let tls = match identity.map(identity_of).transpose() {
        Ok(tls) => tls,
        Err(error) => return Ok((atoms::error(), atoms::tls(), error.to_string()).encode(env)),
    };
    let sampling = decode::field::<Option<f64>>(config, atoms::trace_share())?.map(Sampling::new).transpose()?;
    let config = Config { trace_contexts: sampling.is_some(), ..http_config(config, endpoints, tls)? };
    let resources = Resources { handlers, io: node.io().clone() };
    let backend = Dispatchers::new(Arc::clone(&node.runtime), dispatchers.0, resources, sampling);
    let started = Server::start(config, Arc::new(backend), node.io(), node.workers.runtimes());
    Ok(match started {
        Ok(server) => {
            let port = server.local_addr().port();
            let handle = ResourceArc::new(ServerHandle { server: Arc::new(server), node });
            (atoms::ok(), handle, port).encode(env)
        }
        Err(error) => (atoms::error(), start_reason(&error), error.to_string()).encode(env),
    })
}

/// Has connections from now on given these certificates; `:ok` or `{:error, message}`, and then all stays as it is.
#[rustler::nif(schedule = "DirtyCpu")]
fn http_identify<'a>(env: Env<'a>, server: ResourceArc<ServerHandle>, identity: Pem<'a>) -> Term<'a> {
    match identity_of(identity) {
        Ok(identity) => {
            server.server.identify(identity);
            atoms::ok().encode(env)
        }
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// From now on these tokens are good beside the server's own, and no others: `{name, sha256, scopes, functions, expires_at}`. There may be
/// a thousand, and a hundred sessions of each are looked at for whether they end.
#[rustler::nif(schedule = "DirtyCpu")]
fn http_grant(server: &ServerHandle, rows: List<Row<'_>>) -> NifResult<Atom> {
    server.server.grant(tokens(rows.0)?);
    Ok(atoms::ok())
}

/// A token as Elixir has it; scopes are strings.
type Row<'a> = (String, Binary<'a>, List<String>, String, u64);

fn tokens(rows: Vec<Row<'_>>) -> NifResult<Vec<Token>> {
    let token = |(name, hash, scopes, functions, expires_at): Row<'_>| {
        let hash = sha256(hash)?;
        let scopes = scopes.0.iter().map(|name| scope(name)).collect::<NifResult<_>>()?;
        Ok(Token { name, hash, scopes, functions, expires_at })
    };
    rows.into_iter().map(token).collect()
}

fn sha256(bytes: Binary<'_>) -> NifResult<Hash> {
    Hash::try_from(bytes.as_slice()).map_err(|_| rustler::Error::BadArg)
}

fn scope(name: &str) -> NifResult<Scope> {
    Scope::of(name).ok_or(rustler::Error::BadArg)
}

/// Certificates of the server and their key, more of them with the names of their files, and certificates for those of clients.
type Pem<'a> = (Binary<'a>, Binary<'a>, List<(String, Binary<'a>, Binary<'a>)>, Option<Binary<'a>>);

/// What of an identity's further certificates can't be used, or not for all of their hosts: `{:ok, [{name, message, used?}]}`, or
/// `{:error, message}` where nothing can be.
#[rustler::nif(schedule = "DirtyCpu")]
fn http_unfit<'a>(env: Env<'a>, identity: Pem<'a>) -> Term<'a> {
    match checked(identity) {
        Ok((_identity, unfit)) => {
            let unfit = unfit.iter().map(|unfit| (&unfit.name, unfit.error.to_string(), unfit.is_used()));
            (atoms::ok(), unfit.collect::<Vec<_>>()).encode(env)
        }
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

fn identity_of(identity: Pem<'_>) -> Result<Identity, TlsError> {
    checked(identity).map(|(identity, _unfit)| identity)
}

fn checked((certificates, key, named, clients): Pem<'_>) -> Result<(Identity, Vec<Unfit>), TlsError> {
    let named = named.0.iter().map(|(name, certificates, key)| NamedPem { name, certificates, key });
    Identity::from_pem(&certificates, &key, &named.collect::<Vec<_>>(), clients.as_deref())
}

/// Stops accepting, lets requests in flight finish within `limit_ms`, and sends
/// `{:tidepool_drained, finished, cut}` to the caller.
#[rustler::nif]
fn http_drain(env: Env<'_>, server: ResourceArc<ServerHandle>, limit_ms: u64) -> Atom {
    let pid = env.pid();
    let edge = Arc::clone(&server.server);
    let began = Instant::now();
    server.node.io().spawn(async move {
        // The thread may have been late.
        let drained = edge.drain(decode::millis(limit_ms).saturating_sub(began.elapsed())).await;
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
            (atoms::handed_over(), stats.handed_over.encode(env)),
            (atoms::answered(), stats.answered.encode(env)),
            (atoms::hangups(), stats.hangups.encode(env)),
            (atoms::accept_errors(), stats.accept_errors.encode(env)),
            (atoms::refused(), refused.encode(env)),
        ],
    )
}

/// Lets a secret stand for the token once, as a bearer, within `lifetime_ms`.
#[rustler::nif(schedule = "DirtyCpu")]
fn http_open_code(server: ResourceArc<ServerHandle>, secret: Binary<'_>, lifetime_ms: u64) -> Atom {
    server.server.admit_code(&secret, decode::millis(lifetime_ms));
    atoms::ok()
}

/// Lets a cookie with its key stand for the token whose secret has this SHA-256, the server's own without one. It ends
/// `lifetime_ms` from now, when its user does nothing for `idle_ms`, or with its token. All that there are are looked at, for what is over.
#[rustler::nif(schedule = "DirtyCpu")]
fn http_open_session(
    server: ResourceArc<ServerHandle>,
    id: Binary<'_>,
    key: Binary<'_>,
    of: Option<Binary<'_>>,
    lifetime_ms: u64,
    idle_ms: u64,
) -> NifResult<Atom> {
    let terms = Terms { lifetime: decode::millis(lifetime_ms), idle: decode::millis(idle_ms) };
    server.server.admit_session(&id, &key, of.map(sha256).transpose()?, terms);
    Ok(atoms::ok())
}

/// Ends the session of a cookie with its key.
#[rustler::nif]
fn http_close(server: ResourceArc<ServerHandle>, id: Binary<'_>, key: Binary<'_>) -> Atom {
    server.server.dismiss(&id, &key);
    atoms::ok()
}

fn http_config(map: Term<'_>, endpoints: Vec<Endpoint>, tls: Option<Identity>) -> NifResult<Config> {
    let address: String = decode::field(map, atoms::address())?;
    let address: IpAddr = address.parse().map_err(|_| rustler::Error::BadArg)?;
    let ms = |key| decode::field(map, key).map(decode::millis);
    Ok(Config {
        address: SocketAddr::new(address, decode::field::<Short>(map, atoms::port())?.0),
        tls,
        serves: if decode::field::<bool>(map, atoms::sites())? { Serves::Sites } else { Serves::Node },
        token: decode::field(map, atoms::token())?,
        tokens: tokens(decode::field::<List<Row<'_>>>(map, atoms::tokens())?.0)?,
        closed_calls: decode::field(map, atoms::closed_calls())?,
        trace_contexts: false,
        hosts: decode::field::<List<String>>(map, atoms::hosts())?.0,
        proxies: decode::field::<List<String>>(map, atoms::proxies())?
            .0
            .iter()
            .map(|proxy| proxy.parse().map_err(|_| rustler::Error::BadArg))
            .collect::<NifResult<_>>()?,
        max_upload_bytes: decode::field(map, atoms::max_upload_bytes())?,
        max_payload_bytes: decode::field(map, atoms::max_payload_bytes())?,
        header_timeout: ms(atoms::header_timeout_ms())?,
        body_timeout: ms(atoms::body_timeout_ms())?,
        write_timeout: ms(atoms::write_timeout_ms())?,
        idle_timeout: ms(atoms::idle_timeout_ms())?,
        lame_duck: ms(atoms::lame_duck_ms())?,
        max_buffered_bytes: decode::field(map, atoms::max_buffered_bytes())?,
        max_connections: decode::field(map, atoms::max_connections())?,
        max_requests: decode::field(map, atoms::max_requests())?,
        cores: decode::threads(map, atoms::cores())?,
        form_overhead_bytes: decode::field(map, atoms::form_overhead_bytes())?,
        max_header_bytes: MAX_HEADER_BYTES,
        upload_timeout: UPLOAD_TIMEOUT,
        max_uploads: decode::field(map, atoms::max_uploads())?,
        max_streams: MAX_STREAMS,
        retry_after_s: RETRY_AFTER_S,
        endpoints,
    })
}

/// The edge's table, and whose each of its rows is.
fn endpoints(rows: Vec<Term<'_>>) -> NifResult<(Vec<Endpoint>, Vec<Atom>)> {
    let endpoint = |row: Term<'_>| -> NifResult<(Endpoint, Atom)> {
        let endpoint = Endpoint {
            method: decode::field(row, atoms::method())?,
            path: decode::field(row, atoms::path())?,
            guarded: decode::field(row, atoms::guarded())?,
            scope: decode::field::<Option<String>>(row, atoms::scope())?.map(|name| scope(&name)).transpose()?,
            selects: decode::field(row, atoms::selects())?,
            observes: decode::field(row, atoms::observes())?,
            query: decode::field(row, atoms::query())?,
            headers: decode::field::<List<String>>(row, atoms::headers())?.0,
            body: body_rule(decode::field(row, atoms::body())?)?,
            places: decode::field(row, atoms::places())?,
            deploys: decode::field(row, atoms::deploys())?,
        };
        Ok((endpoint, decode::field(row, atoms::handler())?))
    };
    rows.into_iter().map(endpoint).collect()
}

/// `:nothing`, `:payload`, `{:whole, bytes}` or `{:pieces, bytes}`.
fn body_rule(term: Term<'_>) -> NifResult<BodyRule> {
    if atoms::nothing() == term {
        return Ok(BodyRule::Nothing);
    }
    if atoms::payload() == term {
        return Ok(BodyRule::Payload);
    }
    match term.decode::<(Atom, usize)>()? {
        (rule, bytes) if rule == atoms::whole() => Ok(BodyRule::Whole(bytes)),
        (rule, bytes) if rule == atoms::pieces() => Ok(BodyRule::Pieces(bytes)),
        _ => Err(rustler::Error::BadArg),
    }
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
