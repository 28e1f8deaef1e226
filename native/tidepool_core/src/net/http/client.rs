//! A request, from its connection to the end of its response.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::connect::connect;
use super::connection::{Connection, Outgoing};
use super::failure::{Failure, cause};
use super::heads::too_many;
use super::lull::Lull;
use super::pool::Pool;
use super::server::Server;
use crate::net::access::Access;
use crate::net::error::NetError;

/// How long a connection by HTTP/1.1 may take, after the end of a response, until it can take another request.
const SETTLES: Duration = Duration::from_secs(1);

/// How long a server may take; without one of these as long as it likes, until who asked is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Until there is a connection.
    pub(crate) connect: Option<Duration>,
    /// From then on until the response begins.
    pub(crate) first_byte: Option<Duration>,
    /// Between two pieces of the response.
    pub(crate) between_bytes: Option<Duration>,
}

/// A request under way. Dropped, it ends, and its connection with it.
pub(crate) struct Asked {
    answer: oneshot::Receiver<Result<Response<Incoming>, Failure>>,
    between_bytes: Option<Duration>,
    ongoing: Ongoing,
}

/// Ends a request that is not over.
#[derive(Clone)]
pub(crate) struct Ending {
    task: AbortHandle,
    over: Arc<Over>,
}

/// Whether a response has come to its end. Its connection may wait for another request then.
#[derive(Default)]
struct Over {
    is_over: AtomicBool,
    /// Is told when nobody has the response, or its request, any more.
    left: Notify,
}

impl Ending {
    /// Is there nothing to end?
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it, and its connection with it, unless the response is over: then what is left of the request has a moment to go.
    pub(crate) fn end(&self) {
        if self.over.is_over.load(Ordering::Acquire) { self.over.left.notify_one() } else { self.task.abort() }
    }

    fn finish(&self) {
        self.over.is_over.store(true, Ordering::Release);
    }
}

/// Ends a request when it is dropped.
struct Ongoing(Ending);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Sends a request to the server that its URI names, by whose certificates it is known (PEM), or by the usual roots. The path is all
/// of the URI that goes out by HTTP/1.1, beside the header `host`, whose value is that of the URI unless it is set. A connection of the
/// program's that waits for a request is taken before a new one is made, unless there are certificates.
pub(crate) fn send<B>(access: Arc<Access>, request: Request<B>, patience: Patience, certs: Vec<Vec<u8>>) -> Asked
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (told, answer) = oneshot::channel();
    let (io, over) = (access.io().clone(), Arc::<Over>::default());
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let task = {
        let over = Arc::clone(&over);
        io.spawn(async move { carry_out(&access, request, patience, &certs, told, &over.left).await })
    };
    let ongoing = Ongoing(Ending { task: task.abort_handle(), over });
    Asked { answer, between_bytes: patience.between_bytes, ongoing }
}

impl Asked {
    /// By which it can be ended from elsewhere.
    pub(crate) fn ending(&self) -> Ending {
        self.ongoing.0.clone()
    }

    /// Waits for the head of the response.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub(crate) async fn response(self) -> Result<Response<Received>, Failure> {
        let Asked { answer, between_bytes, ongoing } = self;
        // It ends without an answer when it is ended from elsewhere.
        let ended = || NetError::Io(std::io::ErrorKind::ConnectionAborted.into());
        let response = answer.await.map_err(|_ended| ended())??;
        Ok(response.map(|body| {
            let received = Received { body, lull: Lull::new(between_bytes), ongoing };
            received.look();
            received
        }))
    }
}

async fn carry_out(
    access: &Access,
    request: Request<Outgoing>,
    patience: Patience,
    certs: &[Vec<u8>],
    told: oneshot::Sender<Result<Response<Incoming>, Failure>>,
    left: &Notify,
) {
    let Some(server) = Server::of(request.uri()) else {
        let _gone = told.send(Err(Failure::Uri));
        return;
    };
    // A connection that other certificates vouch for is nobody else's.
    let pool = certs.is_empty().then(|| access.pool());
    let asked = ask(access, (&server, pool), request, (patience, certs));
    let (connection, answered) = match asked.await {
        Ok((connection, response)) => (Some(connection), Ok(response)),
        Err(failure) => (None, Err(failure)),
    };
    // One of HTTP/1.0 may not know where the next request's body ends.
    let pool = pool.filter(|_pool| answered.as_ref().is_ok_and(|response| response.version() >= Version::HTTP_11));
    let (Ok(()), Some(mut connection)) = (told.send(answered), connection) else { return };
    // Until both sides have said what they had to say.
    let is_ready = connection.settle(left.notified(), SETTLES).await;
    if let Some(pool) = pool.filter(|_pool| is_ready) {
        pool.put(server, connection, access.io());
    }
}

/// Has a server answer: the head of its response, and the connection that the rest comes by.
///
/// A server may close a connection at any time, of which this side hears when it has written its next request. That is sent again, by a
/// new connection, where nothing of it was written; or where it changes nothing and has no body (RFC 9110, section 9.2.2).
///
/// # Errors
/// [`Failure`] when there is none.
async fn ask(
    access: &Access,
    (server, pool): (&Server, Option<&Arc<Pool>>),
    mut request: Request<Outgoing>,
    (patience, certs): (Patience, &[Vec<u8>]),
) -> Result<(Connection, Response<Incoming>), Failure> {
    loop {
        let kept = pool.and_then(|pool| pool.take(server));
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let connecting = connect(access, server, certs);
                within(patience.connect, connecting).await.unwrap_or(Err(Failure::ConnectTimeout))?
            }
        };
        let copy = if is_kept { copy(&request) } else { None };
        let flooded = too_many(&mut request);
        let sending = async {
            tokio::select! {
                biased;
                () = flooded => None,
                sent = connection.send(request) => Some(sent),
            }
        };
        match within(patience.first_byte, sending).await {
            None => return Err(Failure::FirstByteTimeout),
            Some(None) => return Err(Failure::Heads),
            Some(Some(Ok(response))) => return Ok((connection, response)),
            Some(Some(Err(mut error))) => {
                let unsent = error.take_message().filter(|_unsent| is_kept);
                let error = error.into_error();
                request = match unsent.or_else(|| copy.filter(|_copy| is_closed(&error))) {
                    Some(again) => again,
                    None => return Err(Failure::Http(error)),
                };
            }
        }
    }
}

/// A request that may be sent twice.
fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let may_be = request.method().is_safe() && request.body().is_end_stream();
    may_be.then(|| {
        let mut copy = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        copy
    })
}

/// Had the other side closed the connection before it answered?
fn is_closed(error: &hyper::Error) -> bool {
    let closed =
        [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
    error.is_incomplete_message()
        || error.is_canceled()
        || cause::<io::Error>(error).is_some_and(|error| closed.contains(&error.kind()))
        || cause::<h2::Error>(error).is_some_and(|error| {
            let refused = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            (error.is_remote() && refused) || error.get_io().is_some_and(|error| closed.contains(&error.kind()))
        })
}

/// What comes within this time.
async fn within<T>(time: Option<Duration>, what: impl Future<Output = T>) -> Option<T> {
    match time {
        Some(time) => timeout(time, what).await.ok(),
        None => Some(what.await),
    }
}

/// The body of a response. Dropped before its end, it ends the connection.
pub(crate) struct Received {
    body: Incoming,
    lull: Lull,
    ongoing: Ongoing,
}

impl Received {
    /// Is it over?
    fn look(&self) {
        if self.body.is_end_stream() {
            self.ongoing.0.finish();
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => this.ongoing.0.finish(),
            // Nothing is behind them, and not all who take them ask for more.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => this.ongoing.0.finish(),
            _ => this.look(),
        }
        this.lull.poll(frame, cx).map(|frame| match frame {
            Some(frame) => frame.map(|frame| frame.map_err(Failure::Http)),
            None => Some(Err(Failure::BetweenBytesTimeout)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
