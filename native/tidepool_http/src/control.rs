//! The routes beside calls: a deploy, health, and whatever the table of the backend has.

use crate::backend::Route;
use crate::deploy;
use crate::edge::{Edge, Purpose};
use crate::endpoint::{Found, not_allowed};
use crate::exchange;
use crate::line::Place;
use crate::reason::{Reason, Refusal};
use crate::resource;
use crate::wire::pulse::Pulse;
use crate::written::{Http, without_body};
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// Answers whatever is not a call.
pub(crate) async fn serve<B>(edge: &Arc<Edge>, pulse: &Arc<Pulse>, request: Request<B>) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let is_head = request.method() == Method::HEAD;
    let reply = route(edge, pulse, request).await;
    if is_head { without_body(reply) } else { reply }
}

async fn route<B>(edge: &Arc<Edge>, pulse: &Arc<Pulse>, request: Request<B>) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let refused = |refusal| edge.reply(pulse, Err(refusal));
    let (method, path) = (request.method(), request.uri().path());
    match path {
        "/deploy" if method == Method::POST => deploy::serve(edge, pulse, request).await,
        "/deploy" => refused(not_allowed(method, "POST")),
        "/health" if method == Method::GET || method == Method::HEAD => health(edge, pulse).await,
        "/health" => refused(not_allowed(method, "GET,HEAD")),
        _ => match edge.table.find(method, path) {
            Found::Row(row) => resource::serve(edge, pulse, row, request).await,
            Found::OtherMethods(allow) => refused(not_allowed(method, &allow)),
            Found::Nothing => refused(edge.table.not_found(path)),
        },
    }
}

async fn health(edge: &Arc<Edge>, pulse: &Arc<Pulse>) -> Http {
    let answer = async {
        let _slot = edge.admit(&pulse.account, Purpose::Observe)?;
        // Whoever spreads requests over several servers leaves this one out from here on.
        if edge.draining.load(SeqCst) {
            return Err(Refusal::new(Reason::Draining, "the server is about to stop: ask another one"));
        }
        exchange::ask(edge, Route::Health).answer().await
    };
    let answer = answer.await;
    edge.reply(pulse, answer.map(|response| (response, Place::default())))
}
