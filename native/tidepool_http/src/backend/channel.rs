//! Answers that come piece by piece: a bounded buffer between the backend and the connection.
//!
//! The backend writes at the client's pace: what does not fit waits until the client has taken something. A client that is gone,
//! or takes nothing for `write_timeout`, closes the stream. A backend that drops its end unfinished breaks the body off, which
//! every client can tell from its end.

use crate::budget::shares::{CHANNEL_BYTES, Hold, PIECE_BYTES};
use crate::connection::state::{Stillness, Untaken};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a backend is told of a stream that it has begun. It runs on a thread of the edge, or on the one that answers, and must
/// return at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// There is room again, after a [`Writer::write`] that did not take all.
    Room,
    /// The client is gone, or too slow. Told once.
    Closed,
    /// The server is about to stop: a stream that finishes now ends well. Told once.
    Draining,
}

/// The backend's end of an answer that comes in pieces. Dropped without [`Writer::finish`], the client sees it break off.
pub struct Writer(Arc<Channel>);

/// The client reads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Closed;

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Takes as much of `bytes` as there is room for, and says how much that was. When it was not all of it,
    /// [`Signal::Room`] follows.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Closed> {
        let mut state = self.0.state();
        if state.closed {
            return Err(Closed);
        }
        let room = state.capacity.saturating_sub(state.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        state.buffer.extend_from_slice(taken);
        state.wants_room = taken.len() < bytes.len();
        wake(state);
        Ok(taken.len())
    }

    /// The answer is whole.
    pub fn finish(self) {
        self.0.end(End::Finished);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.end(End::Dropped);
    }
}

pub(crate) struct Channel {
    state: Mutex<State>,
    signal: Box<dyn Fn(Signal) + Send + Sync>,
}

#[derive(Default)]
struct State {
    buffer: BytesMut,
    /// None before the answer has its place in the budget.
    capacity: usize,
    wants_room: bool,
    end: Option<End>,
    closed: bool,
    told_draining: bool,
    /// Pieces that the client has taken.
    taken: u64,
    reader: Option<Waker>,
    seen: Stillness,
    kept: Option<Box<dyn Kept>>,
}

/// What a stream holds of the server, until it is over or closed. It is given back then, since a client that takes nothing may
/// keep the body for as long as the connection lasts.
pub(crate) trait Kept: Send {
    /// Gives it back, after all of the stream was taken or not.
    fn give_back(self: Box<Self>, is_whole: bool);

    /// What of it counts for bytes, for who goes on with some of these; once.
    fn hold(&mut self) -> Option<Hold>;
}

impl State {
    /// All of it was taken.
    fn is_whole(&self) -> bool {
        !self.closed && self.buffer.is_empty() && self.end == Some(End::Finished)
    }

    /// What is given back now, when nothing is left to be taken. A client may keep the last piece waiting for long.
    fn over(&mut self) -> Option<Over> {
        if !self.closed && (!self.buffer.is_empty() || self.end.is_none()) {
            return None;
        }
        let is_whole = self.is_whole();
        self.kept.take().map(|kept| Over { kept, is_whole })
    }
}

/// See [`State::over`]; to be dropped without the lock.
struct Over {
    kept: Box<dyn Kept>,
    is_whole: bool,
}

impl Over {
    /// A stream that was given up counts against its client.
    fn give_back(self) {
        self.kept.give_back(self.is_whole);
    }
}

/// How the backend has ended a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Dropped,
}

/// Wakes the connection, without the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        let over = state.over();
        wake(state);
        if let Some(over) = over {
            over.give_back();
        }
    }

    /// The answer has its place: from now on it may be written.
    pub(crate) fn open(&self, kept: Box<dyn Kept>) {
        let mut state = self.state();
        state.capacity = CHANNEL_BYTES;
        state.kept = Some(kept);
        let told = std::mem::take(&mut state.wants_room);
        drop(state);
        if told {
            (self.signal)(Signal::Room);
        }
    }

    /// The client reads no more. True if the stream was open until now.
    fn close(&self) -> bool {
        let mut state = self.state();
        let tell = !state.closed && state.end.is_none();
        let was_open = !std::mem::replace(&mut state.closed, true);
        state.buffer = BytesMut::new();
        let over = state.over();
        wake(state);
        if let Some(over) = over {
            over.give_back();
        }
        if tell {
            (self.signal)(Signal::Closed);
        }
        was_open
    }
}

/// The edge's end.
pub(crate) struct Reader(pub(crate) Arc<Channel>);

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Both ends. Nothing can be written before the answer is on its way.
pub(crate) fn channel(signal: impl Fn(Signal) + Send + Sync + 'static) -> (Writer, Reader) {
    let channel = Arc::new(Channel { state: Mutex::default(), signal: Box::new(signal) });
    (Writer(Arc::clone(&channel)), Reader(channel))
}

impl Reader {
    /// The next piece for the client.
    pub(crate) fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let channel = &self.0;
        let mut state = channel.state();
        if state.closed {
            return Poll::Ready(Some(Err(Error::new(ErrorKind::TimedOut, "the client took too long"))));
        }
        if state.buffer.is_empty() {
            return match state.end {
                Some(End::Finished) => Poll::Ready(None),
                Some(End::Dropped) => {
                    Poll::Ready(Some(Err(Error::new(ErrorKind::ConnectionAborted, "the answer broke off"))))
                }
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let length = state.buffer.len().min(PIECE_BYTES);
        let piece = state.buffer.split_to(length).freeze();
        state.taken += 1;
        // Not for each piece, so that the backend wakes up for a few of them.
        let tell = state.wants_room && state.buffer.len() <= CHANNEL_BYTES / 2;
        if tell {
            state.wants_room = false;
        }
        let over = state.over();
        drop(state);
        if let Some(over) = over {
            over.give_back();
        }
        if tell {
            (channel.signal)(Signal::Room);
        }
        Poll::Ready(Some(Ok(piece)))
    }

    /// All of it was taken.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.state().is_whole()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Untaken for Channel {
    /// Closes the stream for a client that has taken nothing for too long of what there is; whether it did.
    fn expire(&self, now: Instant, still: Duration, _least: Duration) -> bool {
        let mut state = self.state();
        if state.buffer.is_empty() || state.closed {
            state.seen.end();
            return false;
        }
        let taken = state.taken;
        if !state.seen.lasts(taken, now, still) {
            return false;
        }
        drop(state);
        self.close()
    }

    /// Tells the backend that the server is about to stop.
    fn drain(&self) {
        let mut state = self.state();
        let tell = !state.closed && state.end.is_none() && !std::mem::replace(&mut state.told_draining, true);
        drop(state);
        if tell {
            (self.signal)(Signal::Draining);
        }
    }
}
