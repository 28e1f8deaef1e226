//! A request, from its connection to the end of its response.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::connect::Server;
use super::failure::Failure;
use super::io::Io;
use super::lull::Lull;
use crate::net::access::Access;
use crate::net::error::NetError;

/// What is read of a response at most before somebody takes it; no head of one has more.
const BUFFER_BYTES: usize = 64 << 10;

/// How long a server may take; without one of these as long as it likes, until who asked is gone.
#[derive(Debug, Clone, Copy, Default)]
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

/// Ends a request when it is dropped.
struct Ongoing(AbortHandle);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request to the server that its URI names, by whose certificates it is known (PEM), or by the usual roots. The path is all
/// of the URI that goes out: the header `host` is for who asks to set.
pub(crate) fn send<B>(access: Arc<Access>, request: Request<B>, patience: Patience, certs: Vec<Vec<u8>>) -> Asked
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (told, answer) = oneshot::channel();
    let io = access.io().clone();
    let task = io.spawn(async move { carry_out(&access, request, patience, &certs, told).await });
    Asked { answer, between_bytes: patience.between_bytes, ongoing: Ongoing(task.abort_handle()) }
}

impl Asked {
    /// By which it can be ended from elsewhere.
    pub(crate) fn ending(&self) -> AbortHandle {
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
        Ok(response.map(|body| Received { body, lull: Lull::new(between_bytes), _ongoing: ongoing }))
    }
}

async fn carry_out<B>(
    access: &Access,
    request: Request<B>,
    patience: Patience,
    certs: &[Vec<u8>],
    told: oneshot::Sender<Result<Response<Incoming>, Failure>>,
) where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let server = Server::of(request.uri());
    let connected = async {
        let io = Io::new(server.ok_or(Failure::Uri)?.connect(access, certs).await?);
        Ok(http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(io).await?)
    };
    let connected = within(patience.connect, connected).await.unwrap_or(Err(Failure::ConnectTimeout));
    let (mut sender, connection) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            let _gone = told.send(Err(failure));
            return;
        }
    };
    let mut connection = pin!(connection);
    let mut is_over = false;
    let answered = {
        let mut answered = pin!(within(patience.first_byte, sender.send_request(to_its_server(request))));
        poll_fn(|cx| {
            if let Poll::Ready(answered) = answered.as_mut().poll(cx) {
                return Poll::Ready(answered);
            }
            if !is_over && connection.as_mut().poll(cx).is_ready() {
                is_over = true;
                // What it has failed with the request fails with as well.
                return answered.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    };
    drop(sender);
    let answered = match answered {
        Some(answered) => answered.map_err(Failure::Http),
        None => Err(Failure::FirstByteTimeout),
    };
    if told.send(answered).is_ok() && !is_over {
        // Who takes the body sees why the rest does not come.
        let _outcome = connection.await;
    }
}

/// What comes within this time.
async fn within<T>(time: Option<Duration>, what: impl Future<Output = T>) -> Option<T> {
    match time {
        Some(time) => timeout(time, what).await.ok(),
        None => Some(what.await),
    }
}

/// A request as its server is to see it: no proxy, it is told the path alone.
fn to_its_server<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, |path| if path == "" { Uri::default() } else { path.into() });
    request
}

/// The body of a response. Dropped, it ends the connection.
pub(crate) struct Received {
    body: Incoming,
    lull: Lull,
    _ongoing: Ongoing,
}

impl Body for Received {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
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
