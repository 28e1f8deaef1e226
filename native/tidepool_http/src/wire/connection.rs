//! One connection: hyper drives it, the pulse gives it orders, its requests are sorted into calls and the rest.

use crate::call::{self, Got};
use crate::config::Config;
use crate::control;
use crate::edge::Edge;
use crate::line::Place;
use crate::reason::Refusal;
use crate::wire::io::Watched;
use crate::wire::pulse::{Order, Pulse};
use crate::wire::registry::Entry;
use crate::wire::unread::Noted;
use crate::written::Http;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// A reply, at once or later.
type Answering = Either<Ready<Result<Http, Infallible>>, UntilCut>;

/// A reply that comes later. Once its connection is cut nobody waits for it, so the next poll drops what makes it.
struct UntilCut {
    pulse: Arc<Pulse>,
    reply: Option<BoxFuture<'static, Result<Http, Infallible>>>,
}

impl UntilCut {
    fn new(pulse: &Arc<Pulse>, reply: impl Future<Output = Result<Http, Infallible>> + Send + 'static) -> Self {
        UntilCut { pulse: Arc::clone(pulse), reply: Some(Box::pin(reply)) }
    }
}

impl Future for UntilCut {
    type Output = Result<Http, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.pulse.order() == Order::Cut {
            self.reply = None;
        }
        self.reply.as_mut().map_or(Poll::Pending, |reply| reply.as_mut().poll(cx))
    }
}

/// Requests that one HTTP/2 client may give up before it has to connect anew, so that starting work
/// and cancelling it in a circle costs the client something too.
const ABANDONED: u32 = 1_000;

/// What an HTTP/2 stream holds of an answer beyond its client's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How connections are served; made once.
pub(crate) fn protocol(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(config.max_header_bytes);
    builder
        .http2()
        .max_concurrent_streams(config.max_streams)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Serves a connection to its end. Dropped, it hangs up on what is in flight.
pub(crate) async fn serve(stream: TcpStream, entry: Entry, protocol: Arc<Builder<TokioExecutor>>) {
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&entry.pulse)));
    let service = service_fn(|request| answer(&entry, request));
    let mut connection = pin!(protocol.serve_connection(io, service));
    let mut closing = false;
    poll_fn(|cx| {
        entry.pulse.register(cx.waker());
        let order = entry.pulse.order();
        if order == Order::Cut {
            // Closing the socket may cost this thread its core, to whoever watches the other end: the backend is told first.
            if entry.pulse.is_busy() && !entry.pulse.is_multiplexed() {
                let _ = connection.as_mut().poll(cx);
            }
            return Poll::Ready(());
        }
        // HTTP/2 has a way to part without losing a request; in HTTP/1 an answer is where to say it.
        let parting = order == Order::Close || (order == Order::Leave && entry.pulse.is_multiplexed());
        if parting && !closing {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        // How a connection ends is the client's affair; what it left behind is hung up by the drops.
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// A GET of a call that is answered at once costs no future; all others are boxed, so that they don't make the
/// connection's own larger.
fn answer(entry: &Entry, request: Request<Incoming>) -> Answering {
    let (edge, pulse) = (&entry.edge, &entry.pulse);
    let meant = edge.hosts.check(&request);
    let is_call = request.uri().path().starts_with(call::PREFIX);
    let plain = request.method() == Method::GET && request.body().is_end_stream() && !is_multiplexed(&request);
    if !is_call || !plain || meant.is_err() {
        let reply = serve_request(Arc::clone(edge), Arc::clone(pulse), is_call, request, meant);
        return Either::Right(UntilCut::new(pulse, reply));
    }
    let busy = pulse.begin();
    // No body is left of a request before this one.
    pulse.set_unread(false);
    let reply = match call::get(edge, pulse, request.uri()) {
        Ok(Got::Answer(response)) => edge.reply(pulse, Ok((response, Place::default()))),
        Err(refusal) => edge.reply(pulse, Err(refusal)),
        Ok(Got::Dear(call, slot, size)) => {
            let (edge, own_pulse) = (Arc::clone(edge), Arc::clone(pulse));
            let reply = async move {
                let answer = call::ask(&edge, &own_pulse, size, call).await;
                drop(slot);
                busy.answered();
                Ok(part(&own_pulse, false, edge.reply(&own_pulse, answer)))
            };
            return Either::Right(UntilCut::new(pulse, reply));
        }
        Ok(Got::Waiting(waiting, slot, size)) => {
            let (edge, own_pulse) = (Arc::clone(edge), Arc::clone(pulse));
            let reply = async move {
                let answer = waiting.answer().await;
                drop(slot);
                let answer = edge.learn(size, answer).map(|response| (response, Place::default()));
                busy.answered();
                Ok(part(&own_pulse, false, edge.reply(&own_pulse, answer)))
            };
            return Either::Right(UntilCut::new(pulse, reply));
        }
    };
    busy.answered();
    Either::Left(ready(Ok(part(pulse, false, reply))))
}

async fn serve_request(
    edge: Arc<Edge>,
    pulse: Arc<Pulse>,
    is_call: bool,
    request: Request<Incoming>,
    meant: Result<(), Refusal>,
) -> Result<Http, Infallible> {
    let busy = pulse.begin();
    let multiplexed = is_multiplexed(&request);
    if multiplexed {
        pulse.set_multiplexed();
        if pulse.abandoned() > ABANDONED {
            pulse.give(Order::Close);
        }
    }
    let request = request.map(|body| Noted::new(body, &pulse, multiplexed));
    let reply = match meant {
        Err(refusal) => {
            edge.tell_refused(&pulse, (request.method(), request.uri(), request.headers()), refusal.reason);
            drop(request);
            edge.reply(&pulse, Err(refusal))
        }
        Ok(()) if is_call => edge.reply(&pulse, call::call(&edge, &pulse, request).await),
        // Boxed, so that a call's future is no larger for what is not a call.
        Ok(()) => Box::pin(control::serve(&edge, &pulse, request)).await,
    };
    busy.answered();
    Ok(part(&pulse, multiplexed, reply))
}

/// Says so when the connection can't go on, behind a body that nobody read, or should not.
fn part(pulse: &Pulse, multiplexed: bool, mut reply: Http) -> Http {
    let stuck = pulse.has_unread() && reply.status().as_u16() >= 400;
    if stuck || (!multiplexed && pulse.order() == Order::Leave) {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn is_multiplexed(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_2
}
