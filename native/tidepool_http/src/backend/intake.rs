//! A request's body on its way to a backend that reads it piece by piece: no piece is read from the client before the backend
//! asks for it.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use std::collections::VecDeque;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tidepool_errors::Reason;
use tokio::sync::Notify;

/// The backend's end of a body that comes in pieces.
pub struct BodyReader(pub(crate) Arc<Intake>);

/// What there is of a body now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes, never none.
    Data(Bytes),
    /// That was all.
    End,
    /// The rest does not come, for this reason. Only told once an answer has begun: before, the client gets the refusal, and
    /// the backend is hung up on.
    Failed(Reason),
    /// Nothing yet. The next piece is now asked for, and [`BodyReader::listen`] tells when it has come.
    Later,
}

#[derive(Default)]
pub(crate) struct Intake {
    state: Mutex<State>,
    wanted: Notify,
    /// Bytes that are read before anybody asks.
    ahead: usize,
}

#[derive(Default)]
struct State {
    wanted: bool,
    come: VecDeque<Come>,
    /// Bytes of what has come.
    bytes: usize,
    /// There is nobody to read it.
    left: bool,
    come_signal: Option<Box<dyn Fn() + Send>>,
    waker: Option<Waker>,
}

impl State {
    /// The first of what has come. What is the last stays.
    fn next(&mut self) -> Option<Come> {
        match self.come.pop_front()? {
            Come::Data(data) => {
                self.bytes = self.bytes.saturating_sub(data.len());
                Some(Come::Data(data))
            }
            Come::Trailers(trailers) => {
                self.come.push_front(Come::End);
                Some(Come::Trailers(trailers))
            }
            Come::End => {
                self.come.push_front(Come::End);
                Some(Come::End)
            }
            Come::Failed(reason) => {
                self.come.push_front(Come::Failed(reason));
                Some(Come::Failed(reason))
            }
        }
    }
}

/// What has come of a body.
pub(crate) enum Come {
    /// Some of its bytes, never none.
    Data(Bytes),
    /// What is behind the last of them.
    Trailers(HeaderMap),
    /// That was all.
    End,
    /// The rest does not come.
    Failed(Reason),
}

impl Intake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An intake that has so many bytes read before anybody asks.
    pub(crate) fn ahead(ahead: usize) -> Self {
        Intake { ahead, ..Intake::default() }
    }

    /// Waits until there is something to read for; false when nobody will read it.
    pub(crate) async fn until_wanted(&self) -> bool {
        loop {
            {
                let mut state = self.state();
                if state.left {
                    return false;
                }
                if std::mem::take(&mut state.wanted) || state.bytes < self.ahead {
                    return true;
                }
            }
            self.wanted.notified().await;
        }
    }

    pub(crate) fn put(&self, come: Come) {
        let mut state = self.state();
        // A backend that has asked again meanwhile has asked for this piece.
        state.wanted = false;
        if let Come::Data(data) = &come {
            state.bytes = state.bytes.saturating_add(data.len());
        }
        state.come.push_back(come);
        // Under the lock: the signal only sends a message, and must not call the reader.
        if let Some(signal) = &state.come_signal {
            signal();
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks for the next piece.
    fn want(&self, state: &mut State) {
        state.wanted = true;
        self.wanted.notify_one();
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BodyReader").finish_non_exhaustive()
    }
}

impl BodyReader {
    /// The next piece, or that it comes later. Returns at once, from any thread.
    #[must_use]
    pub fn read(&self) -> Piece {
        let mut state = self.0.state();
        match state.next() {
            Some(Come::Data(data)) => Piece::Data(data),
            Some(Come::Trailers(_) | Come::End) => Piece::End,
            Some(Come::Failed(reason)) => Piece::Failed(reason),
            None => {
                self.0.want(&mut state);
                Piece::Later
            }
        }
    }

    /// Calls `come` from now on when a piece that was asked for has come, the end and a failure included. It runs on a thread
    /// of the edge, must return at once, and must not call the reader.
    pub fn listen(&self, come: impl Fn() + Send + 'static) {
        self.0.state().come_signal = Some(Box::new(come));
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        self.0.state().left = true;
        self.0.wanted.notify_one();
    }
}

/// For who polls it.
impl Body for BodyReader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.0.state();
        match state.next() {
            Some(Come::Data(data)) => {
                self.0.wanted.notify_one();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Come::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Come::End) => Poll::Ready(None),
            Some(Come::Failed(reason)) => Poll::Ready(Some(Err(failure(reason)))),
            None => {
                self.0.want(&mut state);
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A reason as whoever reads a body is told it.
fn failure(reason: Reason) -> Error {
    let kind = match reason {
        Reason::PayloadTooLarge => ErrorKind::FileTooLarge,
        Reason::BodyTimeout => ErrorKind::TimedOut,
        _ => ErrorKind::ConnectionAborted,
    };
    Error::new(kind, reason.name())
}
