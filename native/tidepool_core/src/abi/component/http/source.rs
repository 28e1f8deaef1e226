//! What a response's body comes from: what the guest writes, counted as it is taken.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::base::limits::Limits;
use crate::recording::exchange::response::Transcript;
use crate::recording::outcome::Answered;

/// Shared by the body of a response and the call of its handler.
#[derive(Clone)]
pub(super) struct Source(Arc<Mutex<Inner>>);

pub(super) struct Inner {
    /// `None` when nobody takes any more of it.
    body: Option<HyperOutgoingBody>,
    /// What was taken when the handler returned.
    left: VecDeque<Frame<Bytes>>,
    /// Bytes that were taken.
    size: usize,
    /// Bytes that there may be.
    allowed: u64,
    /// What has come behind the last piece.
    end: Option<End>,
    /// What a recording has of the response.
    transcript: Option<Transcript>,
}

/// What there is of a body now.
pub(super) enum Next {
    Frame(Frame<Bytes>),
    End(End),
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// That was all, finished or not.
    Over,
    /// The guest has given it up.
    GivenUp,
    /// There is more than there may be.
    TooLarge,
}

impl Source {
    pub(super) fn new(body: HyperOutgoingBody, allowed: u64, transcript: Option<Transcript>) -> Self {
        let left = VecDeque::new();
        Source(Arc::new(Mutex::new(Inner { body: Some(body), left, size: 0, allowed, end: None, transcript })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the handler has written and nobody has taken, which is bounded: it has returned. Says whether all of the body is as
    /// large as it may be.
    pub(super) fn close(&self) -> bool {
        let mut inner = self.lock();
        // Who takes the body is woken when that is known.
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Next::Frame(frame)) = inner.take(&mut context) {
            inner.left.push_back(frame);
        }
        inner.end != Some(End::TooLarge)
    }

    /// What a recording has of the response, which is over.
    pub(super) fn recorded(&self) -> Option<Answered> {
        let mut inner = self.lock();
        let is_given_up = inner.end == Some(End::GivenUp);
        inner.transcript.take().map(|transcript| transcript.end(is_given_up))
    }
}

impl Inner {
    /// The next piece.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        match self.left.pop_front() {
            Some(frame) => Poll::Ready(Next::Frame(frame)),
            None => self.take(cx),
        }
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let body = match (self.end, &mut self.body) {
            (Some(end), _) => return Poll::Ready(Next::End(end)),
            (None, None) => return Poll::Ready(Next::End(End::Over)),
            (None, Some(body)) => body,
        };
        let end = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.size = self.size.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if Limits::fits(self.size, self.allowed) {
                    if let Some(transcript) = &mut self.transcript {
                        transcript.add(&frame);
                    }
                    return Poll::Ready(Next::Frame(frame));
                }
                End::TooLarge
            }
            Some(Err(_)) => End::GivenUp,
            None => End::Over,
        };
        self.end = Some(end);
        Poll::Ready(Next::End(end))
    }

    /// Bytes that who takes the body has been given.
    pub(super) fn given(&self) -> usize {
        let left = self.left.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        self.size.saturating_sub(left)
    }

    /// Is there nothing more, as far as can be known ahead?
    pub(super) fn is_end(&self) -> bool {
        let is_end = match self.end {
            Some(end) => end == End::Over,
            None => self.body.as_ref().is_none_or(Body::is_end_stream),
        };
        is_end && self.left.is_empty()
    }

    /// Nobody takes any more of it: once what is returned is dropped, which is not for here, the guest finds that out when it writes.
    pub(super) fn leave(&mut self) -> Option<HyperOutgoingBody> {
        self.left.clear();
        self.body.take()
    }
}
