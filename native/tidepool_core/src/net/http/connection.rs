//! A connection with a server, by HTTP/1.1 or by HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::{Executor, Read, Write};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The body of a request.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// What a head of a response has at most.
const HEADER_BYTES: u32 = 64 << 10;
/// What is read of a response by HTTP/1.1 at most before somebody takes it.
const BUFFER_BYTES: usize = HEADER_BYTES as usize;
/// The same by HTTP/2: what a server may send ahead. There is one response at a time. It is in no account; so a version has few
/// connections of the kind. A server that sends tiny pieces of a response which nobody takes has some 800 of them in it.
const WINDOW_BYTES: u32 = 256 << 10;

/// A protocol that servers speak.
pub(super) enum Protocol {
    Http1,
    /// With one of the places that there are for it.
    Http2(OwnedSemaphorePermit),
}

/// Dropped, it is closed.
pub(super) struct Connection {
    sender: Sender,
    /// What reads and writes it.
    tasks: Tasks,
    since: Instant,
}

enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2 {
        sender: http2::SendRequest<Outgoing>,
        /// Until the body of the last request is nobody's.
        sending: Option<oneshot::Receiver<Infallible>>,
        _place: OwnedSemaphorePermit,
    },
}

impl Connection {
    /// Begins to speak a protocol.
    ///
    /// # Errors
    /// When the other side is gone.
    pub(super) async fn open<T>(io: T, protocol: Protocol, runtime: &Handle) -> hyper::Result<Self>
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        let tasks = Tasks { runtime: runtime.clone(), running: Arc::default() };
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(io).await?;
                // What it fails with its request fails with as well.
                tasks.execute(async { drop(connection.await) });
                Sender::Http1(sender)
            }
            Protocol::Http2(place) => {
                let mut speaking = http2::Builder::new(tasks.clone());
                speaking.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
                speaking.max_send_buf_size(BUFFER_BYTES).max_header_list_size(HEADER_BYTES);
                let (sender, connection) = speaking.handshake(io).await?;
                tasks.execute(async { drop(connection.await) });
                Sender::Http2 { sender, sending: None, _place: place }
            }
        };
        Ok(Connection { sender, tasks, since: Instant::now() })
    }

    /// Sends a request, whose URI or header `host` says who is asked, and waits for the head of the response.
    ///
    /// # Errors
    /// With the request, where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(by_http1(request)).await,
            Sender::Http2 { sender, sending, .. } => {
                let (until, sent) = oneshot::channel();
                *sending = Some(sent);
                let request = request.map(|body| Sending { body, _until: until }.boxed_unsync());
                sender.try_send_request(by_http2(request)).await
            }
        }
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Can it take a request?
    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    /// Can it take none any more?
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2 { sender, .. } => sender.is_closed(),
        }
    }

    /// Waits until the last request and its response are over on it; `response` is when the latter is, and the rest of the request has so
    /// long from then on. Can it take another request then?
    pub(super) async fn settle(&mut self, response: impl Future<Output = ()>, most: Duration) -> bool {
        match &mut self.sender {
            Sender::Http2 { sender, sending, .. } => {
                response.await;
                let sent = match sending.take() {
                    Some(sending) => timeout(most, sending).await.is_ok(),
                    None => true,
                };
                sent && sender.is_ready()
            }
            Sender::Http1(sender) => {
                let late = async {
                    response.await;
                    sleep(most).await;
                };
                tokio::select! {
                    ready = sender.ready() => ready.is_ok(),
                    () = late => false,
                }
            }
        }
    }

    /// Closes it, and waits until its socket is nobody's.
    pub(super) async fn close(self) {
        for task in self.tasks.end() {
            let _aborted = task.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// The tasks of a connection, which end with it.
#[derive(Clone)]
struct Tasks {
    runtime: Handle,
    running: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Tasks {
    fn end(&self) -> Vec<JoinHandle<()>> {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.iter().for_each(JoinHandle::abort);
        running
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|task| !task.is_finished());
        running.push(self.runtime.spawn(task));
    }
}

/// The body of a request by HTTP/2, of which it is told when it is nobody's any more.
struct Sending {
    body: Outgoing,
    _until: oneshot::Sender<Infallible>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// No proxy, its server is told the path alone, and beside it who is asked.
fn by_http1(mut request: Request<Outgoing>) -> Request<Outgoing> {
    let authority = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if let (Some(authority), false) = (authority, request.headers().contains_key(HOST)) {
        request.headers_mut().insert(HOST, authority);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, |path| if path == "" { Uri::default() } else { path.into() });
    request
}

/// Who is asked is a part of the URI (RFC 9113, section 8.3.1).
fn by_http2(mut request: Request<Outgoing>) -> Request<Outgoing> {
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let host = host.as_ref().and_then(|host| host.to_str().ok()?.parse().ok());
    parts.authority = host.or(parts.authority);
    parts.scheme.get_or_insert(Scheme::HTTPS);
    // Shown, a path has the slash that it may lack: `?a=b`.
    let path = parts.path_and_query.and_then(|path| path.to_string().parse().ok());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}
