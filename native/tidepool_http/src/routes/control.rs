//! The routes beside calls: a deploy, health, and whatever the table of the backend has.

use crate::backend::contract::Route;
use crate::budget::answer_window::AnswerShare;
use crate::connection::state::ConnectionState;
use crate::edge::endpoint::{Found, not_allowed};
use crate::edge::shared::{Edge, Purpose};
use crate::exchange::handover::hand_over;
use crate::exchange::written::{Http, without_body};
use crate::message::refusal::Refusal;
use crate::routes::deploy;
use crate::routes::resource;
use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tidepool_errors::Reason;

/// Answers whatever is not a call.
pub(crate) async fn serve<B>(edge: &Arc<Edge>, connection: &Arc<ConnectionState>, request: Request<B>) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let is_head = request.method() == Method::HEAD;
    let reply = route(edge, connection, request).await;
    if is_head { without_body(reply) } else { reply }
}

async fn route<B>(edge: &Arc<Edge>, connection: &Arc<ConnectionState>, request: Request<B>) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let refused = |refusal| edge.reply(connection, Err(refusal));
    let (method, path) = (request.method(), request.uri().path());
    match path {
        "/deploy" if method == Method::POST => deploy::serve(edge, connection, request).await,
        "/deploy" => refused(not_allowed(method, "POST")),
        "/health" if method == Method::GET || method == Method::HEAD => health(edge, connection).await,
        "/health" => refused(not_allowed(method, "GET,HEAD")),
        _ => match edge.table.find(method, path) {
            Found::Row(row) => resource::serve(edge, connection, row, request).await,
            Found::OtherMethods(allow) => refused(not_allowed(method, &allow)),
            Found::Nothing => refused(edge.table.not_found(path)),
        },
    }
}

async fn health(edge: &Arc<Edge>, connection: &Arc<ConnectionState>) -> Http {
    let answer = async {
        let _slot = edge.admit(connection.accounts.clone(), Purpose::Observe)?;
        // A load balancer takes this server out from here on.
        if edge.draining.load(SeqCst) {
            return Err(Refusal::new(Reason::Draining, "the server is about to stop: ask another one"));
        }
        hand_over(edge, Route::Health).answer().await
    };
    let answer = answer.await;
    edge.reply(connection, answer.map(|response| (response, AnswerShare::of(&connection.accounts))))
}
