//! The routes beside calls. A new one is a line in [`router`], a handler, and a variant of `Route`.

use crate::access;
use crate::answer::Response;
use crate::backend::Route;
use crate::deploy;
use crate::edge::{Edge, Purpose};
use crate::exchange;
use crate::percent;
use crate::reason::{Reason, Refusal};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
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
        .route("/cluster", get(cluster))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(edge)
}

/// An answer or a refusal, as axum wants it.
struct Reply(Result<Response, Refusal>, Arc<Edge>);

impl IntoResponse for Reply {
    fn into_response(self) -> axum::response::Response {
        let Self(reply, edge) = self;
        let response = reply.unwrap_or_else(|refusal| {
            edge.gauges.count_refusal(refusal.reason);
            refusal.into_response()
        });
        response.into_http().map(axum::body::Body::new)
    }
}

async fn ask(edge: Arc<Edge>, purpose: Purpose, route: Result<Route, Refusal>) -> Reply {
    let answer = async {
        let _slot = edge.admit(purpose)?;
        exchange::ask(&edge, route?).answer().await
    };
    let reply = answer.await;
    Reply(reply, edge)
}

async fn deploy(State(edge): Edges, request: Request) -> Reply {
    let reply = deploy::deploy(&edge, request).await;
    Reply(reply, edge)
}

async fn list(State(edge): Edges) -> Reply {
    ask(edge, Purpose::Work, Ok(Route::List)).await
}

async fn show(State(edge): Edges, request: Request) -> Reply {
    let route = function(&request).map(|function| Route::Show { function });
    ask(edge, Purpose::Work, route).await
}

async fn remove(State(edge): Edges, request: Request) -> Reply {
    let (head, _body) = request.into_parts();
    let allowed = access::check_change(&edge.config, &head);
    let route = allowed.and_then(|()| last_segment(head.uri.path())).map(|function| Route::Remove { function });
    ask(edge, Purpose::Work, route).await
}

async fn cluster(State(edge): Edges) -> Reply {
    ask(edge, Purpose::Observe, Ok(Route::Cluster)).await
}

async fn health(State(edge): Edges) -> Reply {
    // Whoever spreads requests over several servers leaves this one out from here on.
    let draining = || Refusal::new(Reason::Draining, "the server is about to stop: ask another one");
    let route = if edge.draining.load(SeqCst) { Err(draining()) } else { Ok(Route::Health) };
    ask(edge, Purpose::Observe, route).await
}

async fn metrics(State(edge): Edges) -> Reply {
    ask(edge, Purpose::Observe, Ok(Route::Metrics)).await
}

async fn not_found(State(edge): Edges, request: Request) -> Reply {
    let routes = [
        "/deploy",
        "/call/FUNCTION",
        "/call/FUNCTION/OPERATION",
        "/functions",
        "/functions/FUNCTION",
        "/cluster",
        "/health",
        "/metrics",
    ];
    let refusal = Refusal::new(Reason::NotFound, format!("no such path; there are {}", routes.join(", ")))
        .with("path", request.uri().path());
    Reply(Err(refusal), edge)
}

/// The router adds the `Allow` header.
async fn method_not_allowed(State(edge): Edges, request: Request) -> Reply {
    let refusal = Refusal::new(Reason::MethodNotAllowed, "use a method that the Allow header names")
        .with("method", request.method().as_str());
    Reply(Err(refusal), edge)
}

fn function(request: &Request) -> Result<String, Refusal> {
    last_segment(request.uri().path())
}

fn last_segment(path: &str) -> Result<String, Refusal> {
    percent::segment(path.rsplit('/').next().unwrap_or_default())
}
