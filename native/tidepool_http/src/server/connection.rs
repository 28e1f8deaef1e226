//! One connection: TLS first where it is spoken, then hyper drives it, the connection gives it orders, its requests are sorted into
//! calls and the rest.

use crate::budget::answer_window::AnswerShare;
use crate::budget::shares::WINDOW_BYTES;
use crate::connection::socket::Watched;
use crate::connection::state::{ConnectionState, Order};
use crate::connection::unread::LingeringBody;
use crate::edge::config::{Config, Serves};
use crate::edge::shared::Edge;
use crate::edge::tls::HANDSHAKE;
use crate::exchange::body;
use crate::exchange::head;
use crate::exchange::written::Http;
use crate::message::refusal::Refusal;
use crate::routes::call::{self, Got};
use crate::routes::control;
use crate::routes::site::{self, Meant};
use crate::server::registry::Entry;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::service::service_fn;
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tidepool_errors::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// A reply, at once or later.
type Answering = Either<Ready<Result<Http, Infallible>>, UntilCut>;

/// A reply that comes later. Once its connection is cut, the next poll drops the future that makes it.
struct UntilCut {
    connection: Arc<ConnectionState>,
    reply: Option<BoxFuture<'static, Result<Http, Infallible>>>,
}

impl UntilCut {
    fn new(
        connection: &Arc<ConnectionState>,
        reply: impl Future<Output = Result<Http, Infallible>> + Send + 'static,
    ) -> Self {
        UntilCut { connection: Arc::clone(connection), reply: Some(Box::pin(reply)) }
    }
}

impl Future for UntilCut {
    type Output = Result<Http, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.connection.order() == Order::Cut {
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
        .initial_connection_window_size(u32::try_from(WINDOW_BYTES).ok())
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// For how long browsers ask for nothing of the server but by TLS.
const STRICT: &str = "max-age=31536000";

/// Serves a connection to its end. Dropped, it hangs up on what is in flight.
pub(crate) async fn serve(stream: TcpStream, entry: Entry, protocol: Arc<Builder<TokioExecutor>>) {
    match &entry.edge.tls {
        None => drive(Watched::new(stream, Arc::clone(&entry.connection)), &entry, &protocol, Spoken::AsAsked).await,
        // Boxed, so that a connection without TLS is no larger for it.
        Some(tls) => Box::pin(serve_tls(stream, tls.acceptor(), &entry, &protocol)).await,
    }
}

async fn serve_tls(stream: TcpStream, tls: TlsAcceptor, entry: &Entry, protocol: &Builder<TokioExecutor>) {
    let shaken = unless_ended(&entry.connection, async {
        let mut first = [0];
        let secure = stream.peek(&mut first).await.is_ok() && first == [HANDSHAKE];
        let socket = Watched::new(stream, Arc::clone(&entry.connection));
        if secure { tls.accept(socket).await.map(Either::Left) } else { Ok(Either::Right(socket)) }
    });
    match shaken.await {
        Some(Ok(Either::Left(stream))) => drive(stream, entry, protocol, Spoken::AsAsked).await,
        Some(Ok(Either::Right(socket))) => drive(socket, entry, protocol, Spoken::InTheClear).await,
        // The client has been told by TLS, or is gone.
        Some(Err(_)) | None => {}
    }
}

/// What comes of `what`; `None` when the connection is to end first.
async fn unless_ended<T>(connection: &ConnectionState, what: impl Future<Output = T>) -> Option<T> {
    let mut what = pin!(what);
    poll_fn(|cx| {
        connection.register(cx.waker());
        if connection.order() >= Order::Close { Poll::Ready(None) } else { what.as_mut().poll(cx).map(Some) }
    })
    .await
}

/// What a connection's requests came by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// What the server speaks.
    AsAsked,
    /// Not TLS, which the server speaks.
    InTheClear,
}

async fn drive(
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    entry: &Entry,
    protocol: &Builder<TokioExecutor>,
    spoken: Spoken,
) {
    let service = service_fn(|request| answer(entry, request, spoken));
    let mut driver = pin!(protocol.serve_connection(TokioIo::new(socket), service));
    let mut closing = false;
    poll_fn(|cx| {
        entry.connection.register(cx.waker());
        let order = entry.connection.order();
        if order == Order::Cut {
            // The client may be on this machine and take this thread's core when the socket closes: the backend is told first.
            if entry.connection.is_busy() && !entry.connection.is_multiplexed() {
                let _ = driver.as_mut().poll(cx);
            }
            return Poll::Ready(());
        }
        // HTTP/2 has a way to part without losing a request; in HTTP/1 an answer is where to say it.
        let parting = order == Order::Close || (order == Order::Leave && entry.connection.is_multiplexed());
        if parting && !closing {
            closing = true;
            driver.as_mut().graceful_shutdown();
        }
        // How a connection ends is the client's affair; what it left behind is hung up by the drops.
        driver.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// A GET of a call that is answered at once costs no future; all others are boxed, so that they don't make the
/// connection's own larger.
fn answer(entry: &Entry, request: Request<Incoming>, spoken: Spoken) -> Answering {
    let (edge, connection) = (&entry.edge, &entry.connection);
    let meant = match spoken {
        Spoken::AsAsked => head::check(request.headers()).and_then(|()| edge.hosts.check(&request)),
        Spoken::InTheClear => Err(Refusal::new(Reason::TlsNeeded, "this server speaks TLS: ask for https://")),
    };
    let asks = asks(edge, &request);
    let plain = request.method() == Method::GET && request.body().is_end_stream() && !is_multiplexed(&request);
    if !matches!(asks, Asks::Call(Meant::Call)) || !plain || meant.is_err() {
        let reply = serve_request(Arc::clone(edge), Arc::clone(connection), asks, request, meant);
        return Either::Right(UntilCut::new(connection, reply));
    }
    let busy = connection.begin();
    // No body is left of a request before this one.
    connection.set_unread(false);
    let reply = match call::get(edge, connection, &request) {
        Ok(Got::Answer(response, share)) => edge.reply(connection, Ok((response, share))),
        Err(refusal) => edge.reply(connection, Err(refusal)),
        Ok(Got::Large(call, slot, size)) => {
            let (edge, own_connection) = (Arc::clone(edge), Arc::clone(connection));
            let reply = async move {
                let answer = call::ask(&edge, &own_connection, (&slot.accounts, size), call).await;
                drop(slot);
                busy.answered();
                Ok(part(&edge, &own_connection, false, edge.reply(&own_connection, answer)))
            };
            return Either::Right(UntilCut::new(connection, reply));
        }
        Ok(Got::Pending(pending, slot, size)) => {
            let (edge, own_connection) = (Arc::clone(edge), Arc::clone(connection));
            let reply = async move {
                let answer = pending.answer().await;
                let share = AnswerShare::of(&slot.accounts);
                drop(slot);
                let answer = edge.note_size(size, answer).map(|response| (response, share));
                busy.answered();
                Ok(part(&edge, &own_connection, false, edge.reply(&own_connection, answer)))
            };
            return Either::Right(UntilCut::new(connection, reply));
        }
    };
    busy.answered();
    Either::Left(ready(Ok(part(edge, connection, false, reply))))
}

/// What a request is for.
enum Asks {
    /// A function.
    Call(Meant),
    /// Whoever has the route.
    Site,
    /// All else that the server has.
    Control,
}

fn asks(edge: &Edge, request: &Request<Incoming>) -> Asks {
    match edge.config.serves {
        Serves::Sites => Asks::Site,
        Serves::Node if request.uri().path().starts_with(call::PREFIX) => {
            Asks::Call(site::of_call(edge, request.uri()))
        }
        Serves::Node => Asks::Control,
    }
}

async fn serve_request(
    edge: Arc<Edge>,
    connection: Arc<ConnectionState>,
    asks: Asks,
    request: Request<Incoming>,
    meant: Result<(), Refusal>,
) -> Result<Http, Infallible> {
    let busy = connection.begin();
    let multiplexed = is_multiplexed(&request);
    if multiplexed {
        connection.set_multiplexed();
        if connection.abandoned() > ABANDONED {
            connection.give(Order::Close);
        }
    }
    let request = request.map(|body| LingeringBody::new(body, &connection, multiplexed));
    let reply = match meant {
        Err(refusal) => {
            edge.tell_refused(&connection, (request.method(), request.uri(), request.headers()), refusal.reason);
            drop(request);
            edge.reply(&connection, Err(refusal))
        }
        Ok(()) => match asks {
            Asks::Call(Meant::Call) => edge.reply(&connection, call::call(&edge, &connection, request).await),
            // Boxed, so that a call's future is no larger for what is not a call.
            Asks::Call(Meant::Site(site)) => Box::pin(site::serve(&edge, &connection, request, site)).await,
            Asks::Call(Meant::Unknown) => Box::pin(unknown(&edge, &connection, request)).await,
            Asks::Site => match site::of_host(&edge, &request) {
                Ok(site) => Box::pin(site::serve(&edge, &connection, request, site)).await,
                Err(refusal) => edge.reply(&connection, Err(refusal)),
            },
            Asks::Control => Box::pin(control::serve(&edge, &connection, request)).await,
        },
    };
    busy.answered();
    Ok(part(&edge, &connection, multiplexed, reply))
}

/// A request for a function that is not known here: it may be on its way, and then tells how it is asked.
async fn unknown<B>(edge: &Arc<Edge>, connection: &Arc<ConnectionState>, request: Request<B>) -> Http
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    match call::await_function(edge, connection, &request, site::names(request.uri())).await {
        Ok(None) => {}
        Ok(Some(answer)) => {
            if !request.headers().contains_key(EXPECT) {
                body::discard(request.into_body()).await;
            }
            return edge.reply(connection, Ok(answer));
        }
        Err(refusal) => return edge.reply(connection, Err(refusal)),
    }
    match site::of_call(edge, request.uri()) {
        Meant::Site(site) => site::serve(edge, connection, request, site).await,
        Meant::Call | Meant::Unknown => edge.reply(connection, call::call(edge, connection, request).await),
    }
}

/// Says in the reply what is the connection's affair: that it can't go on, because a body was left unread, or should not, and
/// that the server is to be asked by TLS alone.
fn part(edge: &Edge, connection: &ConnectionState, multiplexed: bool, mut reply: Http) -> Http {
    if edge.strict {
        reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT));
    }
    let stuck = connection.has_unread() && reply.status().as_u16() >= 400;
    if stuck || (!multiplexed && connection.order() == Order::Leave) {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn is_multiplexed(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_2
}
