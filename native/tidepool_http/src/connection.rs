//! One connection: hyper drives it, the pulse gives it orders, its requests are sorted into calls and the rest.

use crate::answer::Response;
use crate::call;
use crate::config::Config;
use crate::edge::Edge;
use crate::io::Watched;
use crate::pulse::{Order, Pulse};
use crate::reason::Refusal;
use crate::registry::Entry;
use crate::unread::Noted;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::TcpStream;
use tower::ServiceExt;

/// Calls answer from memory; the router answers with its own kind of body.
type Reply = hyper::Response<Either<Full<Bytes>, Body>>;

/// Requests that one HTTP/2 client may give up before it has to connect anew, so that starting work
/// and cancelling it in a circle costs the client something too.
const ABANDONED: u32 = 1_000;

/// How connections are served; made once.
pub(crate) fn protocol(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(config.max_header_bytes);
    builder
        .http2()
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Serves a connection to its end. Dropped, it hangs up on what is in flight.
pub(crate) async fn serve(stream: TcpStream, entry: Entry, router: Router, protocol: Arc<Builder<TokioExecutor>>) {
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&entry.pulse)));
    let service = service_fn(|request| {
        let (edge, pulse, router) = (Arc::clone(&entry.edge), Arc::clone(&entry.pulse), &router);
        // Calls don't pay for the router.
        let router = (!request.uri().path().starts_with(call::PREFIX)).then(|| router.clone());
        async move { Ok::<_, Infallible>(answer(&edge, &pulse, router, request).await) }
    });
    let mut connection = pin!(protocol.serve_connection(io, service));
    let mut closing = false;
    poll_fn(|cx| {
        entry.pulse.register(cx.waker());
        let order = entry.pulse.order();
        if order == Order::Cut {
            return Poll::Ready(());
        }
        if order == Order::Close && !closing {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        // How a connection ends is the client's affair; what it left behind is hung up by the drops.
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

async fn answer(edge: &Arc<Edge>, pulse: &Arc<Pulse>, router: Option<Router>, request: Request<Incoming>) -> Reply {
    let busy = pulse.begin();
    let multiplexed = request.version() == Version::HTTP_2;
    if multiplexed {
        pulse.set_multiplexed();
        if pulse.abandoned() > ABANDONED {
            pulse.give(Order::Close);
        }
    }
    let request = request.map(|body| Noted::new(body, pulse, multiplexed));
    let mut reply = match router {
        None => {
            let answer = call::call(edge, request).await;
            answer.unwrap_or_else(|refusal| refuse(edge, refusal)).into_http().map(Either::Left)
        }
        Some(router) => {
            // Boxed, because the router's future would make that of every call as large.
            let reply = Box::pin(router.oneshot(request.map(Body::new))).await;
            reply.unwrap_or_else(|never| match never {}).map(Either::Right)
        }
    };
    // The connection can't go on behind a body that nobody read: say so.
    if pulse.has_unread() && reply.status().as_u16() >= 400 {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    busy.answered();
    reply
}

fn refuse(edge: &Edge, refusal: Refusal) -> Response {
    edge.gauges.count_refusal(refusal.reason);
    refusal.into_response()
}
