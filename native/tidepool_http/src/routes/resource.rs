//! A request for what the backend's table has: let in by its row's rules, handed over, answered whole or piece by piece.

use crate::backend::contract::{Caller, RequestBody, ResourceRequest, Route};
use crate::backend::responder::Reply;
use crate::budget::answer_window::AnswerShare;
use crate::budget::heads;
use crate::budget::shares::{Accounts, Hold};
use crate::connection::state::ConnectionState;
use crate::edge::access;
use crate::edge::endpoint::{BodyRule, Row};
use crate::edge::shared::{Edge, Purpose};
use crate::edge::tokens::Subject;
use crate::exchange::body::{self, Bounds, Held};
use crate::exchange::handover::{aborted, hand_over};
use crate::exchange::pump::{self, Pump, beside};
use crate::exchange::stream::{Begun, streamed};
use crate::exchange::written::Http;
use crate::message::percent;
use crate::message::refusal::Refusal;
use crate::message::response::Response;
use crate::routes::call;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Body;
use hyper::header::COOKIE;
use hyper::http::request::Parts;
use std::sync::Arc;
use tidepool_errors::Reason;

/// Answers a request that means this row.
pub(crate) async fn serve<B>(
    edge: &Arc<Edge>,
    connection: &Arc<ConnectionState>,
    row: &Row,
    request: Request<B>,
) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let (head, body) = request.into_parts();
    match ask(edge, connection, row, &head, body).await {
        Ok(http) => http,
        Err(refusal) => {
            if row.endpoint.guarded {
                edge.tell_refused(connection, (&head.method, &head.uri, &head.headers), refusal.reason);
            }
            edge.reply(connection, Err(refusal))
        }
    }
}

async fn ask<B>(
    edge: &Arc<Edge>,
    connection: &Arc<ConnectionState>,
    row: &Row,
    head: &Parts,
    body: B,
) -> Result<Http, Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let endpoint = &row.endpoint;
    let purpose = if endpoint.observes { Purpose::Observe } else { Purpose::Work };
    let mut slot = edge.admit(connection.accounts.clone(), purpose)?;
    let caller = caller(edge, connection, row, head)?;
    let accounts = edge.accounts(connection, Some(&caller));
    if purpose == Purpose::Work {
        slot.count_for(accounts.namespace.clone())?;
    }
    // It is there until there is an answer: of what is refused the backend hears by it.
    slot.hold_head(heads::taken(&head.uri, &head.headers))?;
    let segments: Vec<_> = head.uri.path().split('/').skip(1).map(percent::segment).collect::<Result<_, _>>()?;
    let function = row.function.and_then(|index| segments.get(index));
    if let (true, Some(scope)) = (endpoint.guarded, endpoint.scope) {
        let subject = match function {
            Some(name) => Subject::Function(name),
            None if endpoint.selects => Subject::InBackend,
            None => Subject::Server,
        };
        access::authorize(&caller, scope, subject)?;
    }
    let query = if endpoint.query { percent::parameters(head.uri.query().unwrap_or_default())? } else { Vec::new() };
    let place = edge.admit_to(row, &accounts)?;
    let Taken { body, hold, mut pump } =
        match take(edge, (connection, &accounts), endpoint.body, function, body).await? {
            Ok(taken) => taken,
            Err(answer) => return Ok(edge.reply(connection, Ok((answer, AnswerShare::of(&accounts))))),
        };
    if endpoint.guarded {
        access::check_again(edge, &caller)?;
    }
    let _upload = endpoint.deploys.then(|| edge.admit_upload(accounts.clone())).transpose()?;
    let request = ResourceRequest {
        endpoint: row.index,
        method: endpoint.method.clone(),
        segments,
        query,
        headers: headers(row, head),
        body,
        caller,
    };
    let exchange = hand_over(edge, Route::Resource(Box::new(request)));
    match beside(exchange.reply(), &mut pump).await? {
        Reply::Whole(response) => {
            drop((slot, place, hold));
            Ok(edge.reply(connection, Ok((response, AnswerShare::of(&accounts)))))
        }
        Reply::Passed(_) => Err(aborted()),
        Reply::Pieces(head, reader) => {
            // It goes when the answer has begun.
            slot.release_head();
            streamed(edge, connection, head, reader, Begun { slot, place, body: hold, pump })
        }
    }
}

fn caller(edge: &Edge, connection: &ConnectionState, row: &Row, head: &Parts) -> Result<Caller, Refusal> {
    if row.endpoint.guarded {
        access::check_change(edge, connection, (&head.method, &head.uri, &head.headers))
    } else {
        Ok(access::caller(edge, connection, (&head.method, &head.uri, &head.headers)))
    }
}

fn headers(row: &Row, head: &Parts) -> Vec<(String, Bytes)> {
    // HTTP/2 may send each cookie in a header of its own (RFC 9113, 8.2.3).
    let cookies = || {
        let lines: Vec<_> = head.headers.get_all(COOKIE).iter().map(|line| line.as_bytes()).collect();
        (!lines.is_empty()).then(|| Bytes::from(lines.join(b"; ".as_slice())))
    };
    let first = |name| head.headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let value = |name| if name == COOKIE { cookies() } else { first(name) };
    row.headers.iter().filter_map(|name| Some((name.as_str().to_owned(), value(name)?))).collect()
}

/// What the backend gets of a body, and what stands for it here.
struct Taken {
    body: RequestBody,
    hold: Option<Hold>,
    pump: Option<Pump>,
}

/// Takes a body by its rule, for this function where the path names one; or the backend's answer to a payload that is above the
/// function's own limit.
async fn take<B>(
    edge: &Arc<Edge>,
    (connection, accounts): (&Arc<ConnectionState>, &Accounts),
    rule: BodyRule,
    function: Option<&String>,
    body: B,
) -> Result<Result<Taken, Response>, Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let bounds = |bytes| Bounds {
        bytes,
        time: edge.config.body_timeout,
        too_large: Reason::PayloadTooLarge,
        named_bytes: bytes,
    };
    let whole = |held: Held| Taken { body: RequestBody::Whole(held.bytes), hold: Some(held.hold), pump: None };
    Ok(Ok(match rule {
        // It is dropped before the backend is asked.
        BodyRule::Nothing => Taken { body: RequestBody::Nothing, hold: None, pump: None },
        BodyRule::Whole(bytes) => whole(body::read(edge, accounts, body, &bounds(bytes)).await?),
        BodyRule::Payload => {
            let function = function.cloned().unwrap_or_default();
            // One that nobody has deployed is for the backend to tell of.
            let bounds = call::bounds(edge, edge.backend.payload_limit(&function).unwrap_or(u64::MAX));
            match body::read(edge, accounts, body, &bounds).await {
                Ok(held) => whole(held),
                Err(refusal) => return call::oversized(edge, function, &bounds, refusal).await.map(Err),
            }
        }
        BodyRule::Pieces(bytes) => {
            let (reader, pump) = pump::open(edge, (connection, accounts), body, bounds(bytes))?;
            Taken { body: RequestBody::Pieces(reader), hold: None, pump: Some(pump) }
        }
    }))
}
