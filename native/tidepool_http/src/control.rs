//! The routes beside calls. A new one is a line in [`router`], a handler, and a variant of `Route`.

use crate::access;
use crate::answer::Response;
use crate::backend::Route;
use crate::deploy;
use crate::edge::{Edge, Purpose};
use crate::exchange;
use crate::line::Place;
use crate::percent;
use crate::pulse::Pulse;
use crate::reason::{Reason, Refusal, shown};
use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use hyper::http::request::Parts;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

type Edges = State<Arc<Edge>>;

/// Every path that is not a call's.
pub(crate) fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        // Uploads have their own limit; axum's would cut them at 2 MB.
        .route("/deploy", post(deploy).layer(DefaultBodyLimit::disable()))
        .route("/functions", get(list))
        .route("/functions/{function}", get(show).delete(remove))
        .route("/functions/{function}/wasm", get(wasm))
        .route("/cluster", get(cluster))
        .route("/cluster/nodes/{node}", delete(forget))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(edge)
}

/// The connection that a request came by.
type Client = Extension<Arc<Pulse>>;

/// An answer or a refusal, as axum wants it.
struct Reply(Result<Response, Refusal>, Arc<Edge>, Arc<Pulse>);

impl IntoResponse for Reply {
    fn into_response(self) -> axum::response::Response {
        let Self(reply, edge, pulse) = self;
        edge.reply(&pulse, reply.map(|response| (response, Place::default()))).map(axum::body::Body::new)
    }
}

async fn ask(edge: Arc<Edge>, pulse: Arc<Pulse>, purpose: Purpose, route: Result<Route, Refusal>) -> Reply {
    let answer = async {
        let _slot = edge.admit(&pulse.account, purpose)?;
        exchange::ask(&edge, route?).answer().await
    };
    let reply = answer.await;
    Reply(reply, edge, pulse)
}

async fn deploy(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let (head, body) = request.into_parts();
    let reply = deploy::deploy(&edge, &pulse, head.clone(), body).await;
    guarded(&head, Reply(reply, edge, pulse))
}

async fn list(State(edge): Edges, Extension(pulse): Client) -> Reply {
    ask(edge, pulse, Purpose::Work, Ok(Route::List)).await
}

async fn show(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let route = function(&request).map(|function| Route::Show { function });
    ask(edge, pulse, Purpose::Work, route).await
}

async fn remove(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let (head, _body) = request.into_parts();
    let route = access::check_change(&edge, &pulse, &head)
        .and_then(|caller| Ok(Route::Remove { function: last_segment(head.uri.path())?, caller }));
    guarded(&head, ask(edge, pulse, Purpose::Work, route).await)
}

/// Modules are nobody's but theirs who may change them.
async fn wasm(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let (head, _body) = request.into_parts();
    let path = head.uri.path();
    let route = access::check_change(&edge, &pulse, &head)
        .and_then(|_caller| Ok(Route::Wasm { function: last_segment(path.strip_suffix("/wasm").unwrap_or(path))? }));
    guarded(&head, ask(edge, pulse, Purpose::Work, route).await)
}

/// The backend hears of what was refused.
fn guarded(head: &Parts, reply: Reply) -> Reply {
    if let Reply(Err(refusal), edge, pulse) = &reply {
        edge.tell_refused(pulse, (&head.method, &head.uri, &head.headers), refusal.reason);
    }
    reply
}

async fn forget(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let (head, _body) = request.into_parts();
    let allowed = access::check_change(&edge, &pulse, &head);
    let route = allowed.and_then(|_caller| last_segment(head.uri.path())).map(|node| Route::Forget { node });
    guarded(&head, ask(edge, pulse, Purpose::Work, route).await)
}

async fn cluster(State(edge): Edges, Extension(pulse): Client) -> Reply {
    ask(edge, pulse, Purpose::Observe, Ok(Route::Cluster)).await
}

async fn health(State(edge): Edges, Extension(pulse): Client) -> Reply {
    // Whoever spreads requests over several servers leaves this one out from here on.
    let draining = || Refusal::new(Reason::Draining, "the server is about to stop: ask another one");
    let route = if edge.draining.load(SeqCst) { Err(draining()) } else { Ok(Route::Health) };
    ask(edge, pulse, Purpose::Observe, route).await
}

async fn metrics(State(edge): Edges, Extension(pulse): Client) -> Reply {
    ask(edge, pulse, Purpose::Observe, Ok(Route::Metrics)).await
}

async fn not_found(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let routes = [
        "/deploy",
        "/call/FUNCTION",
        "/call/FUNCTION/OPERATION",
        "/functions",
        "/functions/FUNCTION",
        "/functions/FUNCTION/wasm",
        "/cluster",
        "/cluster/nodes/NODE",
        "/health",
        "/metrics",
    ];
    let refusal = Refusal::new(Reason::NotFound, format!("no such path; there are {}", routes.join(", ")))
        .with("path", shown(request.uri().path()));
    Reply(Err(refusal), edge, pulse)
}

/// The router adds the `Allow` header.
async fn method_not_allowed(State(edge): Edges, Extension(pulse): Client, request: Request) -> Reply {
    let refusal = Refusal::new(Reason::MethodNotAllowed, "use a method that the Allow header names")
        .with("method", shown(request.method().as_str()));
    Reply(Err(refusal), edge, pulse)
}

fn function(request: &Request) -> Result<String, Refusal> {
    last_segment(request.uri().path())
}

fn last_segment(path: &str) -> Result<String, Refusal> {
    percent::segment(path.rsplit('/').next().unwrap_or_default())
}
