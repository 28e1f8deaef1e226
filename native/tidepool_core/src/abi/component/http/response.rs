//! The body of a guest's response, as who takes it sees it.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::fate::{Fate, Handler};
use super::source::{End, Next, Source};
use crate::recording::exchange::response::Transcript;

/// A body that comes as its guest writes it. Dropped before its end, it ends the guest.
pub(super) struct Response {
    source: Source,
    fate: Arc<Fate>,
    /// Bytes that its head announces.
    announced: Option<u64>,
    /// What is known of its size from the beginning. What the guest has written before the head goes changes nothing of that: how a
    /// response is framed would depend on who is faster.
    hint: SizeHint,
    is_over: bool,
}

impl Response {
    /// That of a response whose head is on its way, and the response with it.
    pub(super) fn begin(
        response: http::Response<HyperOutgoingBody>,
        fate: Arc<Fate>,
        allowed: u64,
        is_taped: bool,
    ) -> http::Response<Self> {
        let announced = announced(&response);
        let transcript = is_taped.then(|| Transcript::begin(&response));
        response.map(|body| {
            let (hint, is_over) = (body.size_hint(), body.is_end_stream());
            let source = Source::new(body, allowed, transcript);
            fate.begin(source.clone(), !is_over);
            Response { source, fate, announced, hint, is_over }
        })
    }
}

/// Bytes that the head of a response announces for its body.
pub(super) fn announced<B>(response: &http::Response<B>) -> Option<u64> {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok())
}

fn ended() -> Error {
    Error::new(ErrorKind::ConnectionAborted, "the guest ended before its response did")
}

impl Body for Response {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        // Asked first: what it has written is there when it has returned.
        let handler = this.fate.ask(cx);
        let next = this.source.lock().poll_next(cx);
        let next = match (next, handler) {
            (Poll::Ready(Next::Frame(frame)), _) => {
                // Nothing is behind trailers, and who takes them asks for nothing more.
                this.is_over = frame.is_trailers();
                if this.is_over {
                    this.fate.rest();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            (Poll::Pending, Handler::Runs) => {
                this.fate.rest();
                return Poll::Pending;
            }
            (Poll::Ready(Next::End(End::TooLarge)), _) => {
                this.fate.exceed();
                Some(Err(ErrorKind::FileTooLarge.into()))
            }
            (Poll::Ready(Next::End(End::GivenUp)), _) | (Poll::Pending, Handler::Stopped) => Some(Err(ended())),
            // Finished, or gone with its guest.
            (Poll::Ready(Next::End(End::Over)), _) if this.fate.handler() == Handler::Stopped => Some(Err(ended())),
            (Poll::Ready(Next::End(End::Over)), _) => None,
            // What it has not finished ends with it, as it does where its instance is dropped.
            (Poll::Pending, Handler::Returned) => None,
        };
        this.is_over = true;
        this.fate.rest();
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        let mut source = self.source.lock();
        // Nobody asks for more than was announced.
        let is_whole = self.announced.is_some_and(|announced| source.given() as u64 >= announced);
        let is_left = !self.is_over && !is_whole && !source.is_end();
        let body = source.leave();
        drop(source);
        drop(body);
        self.fate.rest();
        if is_left {
            self.fate.leave();
        }
    }
}
