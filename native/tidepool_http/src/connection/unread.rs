//! Bodies that are answered before they are read: a client that still sends must get to read the answer.
//!
//! On HTTP/1 the connection ends with such a request; its state says so, and closing lingers (`socket.rs`). On
//! HTTP/2 only the stream ends, with a reset, and some clients throw an answer away when the reset is at
//! its heels; so the rest of the body is thrown away first, for as long as an HTTP/1 client would get.

use crate::connection::discards::{DISCARD_BYTES, Discards, LINGER};
use crate::connection::state::ConnectionState;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::time::{sleep_until, timeout};

/// A request's body that lingers when it is dropped unread.
pub(crate) struct LingeringBody {
    /// `None` only while it is dropped.
    body: Option<Incoming>,
    rest: Rest,
}

/// What lingers when a body is dropped unread.
enum Rest {
    /// Nothing is left.
    Nothing,
    /// The connection lingers.
    Connection(Arc<ConnectionState>),
    /// The stream lingers.
    Stream(Arc<Discards>),
}

impl LingeringBody {
    pub(crate) fn new(body: Incoming, connection: &Arc<ConnectionState>, multiplexed: bool) -> Self {
        let rest = match (body.is_end_stream(), multiplexed) {
            (true, _) => Rest::Nothing,
            (false, true) => Rest::Stream(Arc::clone(&connection.discards)),
            (false, false) => Rest::Connection(Arc::clone(connection)),
        };
        connection.set_unread(matches!(rest, Rest::Connection(_)));
        Self { body: Some(body), rest }
    }

    fn ended(&mut self) {
        if let Rest::Connection(connection) = std::mem::replace(&mut self.rest, Rest::Nothing) {
            connection.set_unread(false);
        }
    }
}

impl Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.is_none() {
            self.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        let (Rest::Stream(discards), Some(mut body)) = (&self.rest, self.body.take()) else {
            return;
        };
        // Without a runtime everything is being torn down, this client's connection too.
        if let Ok(runtime) = Handle::try_current() {
            // Ends early when the client finishes, resets or goes; the stream counts as open meanwhile.
            let discards = Arc::clone(discards);
            runtime.spawn(timeout(LINGER, async move {
                let mut bytes = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    if bytes >= DISCARD_BYTES {
                        bytes = 0;
                        sleep_until(discards.next()).await;
                    }
                }
            }));
        }
    }
}
