//! How long a handler waits for its client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep_until};

use crate::base::request::exchange::Body;
use crate::net::http::lull::Lull;

/// How long a client may take nothing of a response, if there is a bound.
pub(super) struct Patience {
    most: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(most: Option<Duration>) -> Self {
        Patience { most, timer: None }
    }

    /// Ready when the client has taken nothing for too long, which it does since then. A timer is set once in that time, and not each
    /// time that the client is behind.
    pub(super) fn poll(&mut self, since: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((most, since)) = self.most.zip(since) else { return Poll::Pending };
        let Some(end) = since.checked_add(most) else { return Poll::Pending };
        while Instant::now() < end {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
        Poll::Ready(())
    }
}

/// The body with a bound on each pause in which it is waited for, if there is one.
pub(super) fn paced(body: Body, most: Option<Duration>) -> Body {
    match most {
        Some(_) => Paced { body, lull: Lull::new(most) }.boxed_unsync(),
        None => body,
    }
}

struct Paced {
    body: Body,
    lull: Lull,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.lull.poll(frame, cx).map(|frame| frame.unwrap_or_else(|| Some(Err(io::ErrorKind::TimedOut.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
