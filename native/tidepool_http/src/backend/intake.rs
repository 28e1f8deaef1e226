//! A request's body on its way to a backend that reads it piece by piece: no piece is read from the client before the backend
//! asks for it.

use crate::budget::heads;
use crate::budget::shares::Hold;
use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use std::collections::VecDeque;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tidepool_errors::Reason;
use tokio::sync::Notify;

/// Bytes of a piece that small ones are gathered in.
const GATHERED_BYTES: usize = 16 << 10;

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
    /// Has somebody asked for the next piece who has not got it?
    asked: bool,
    come: VecDeque<Come>,
    /// What has come behind that, and nobody has asked for.
    gathered: BytesMut,
    /// Bytes of what has come.
    bytes: usize,
    /// What has come has so much of the budget, when no more comes.
    hold: Option<Hold>,
    /// There is nobody to read it.
    left: bool,
    come_signal: Option<Box<dyn Fn() + Send>>,
    waker: Option<Waker>,
}

impl State {
    /// The first of what has come. What is the last stays.
    fn next(&mut self) -> Option<Come> {
        let first = self.come.pop_front();
        match first.or_else(|| self.take_gathered())? {
            Come::Data(data) => {
                self.bytes = self.bytes.saturating_sub(data.len());
                self.settle_hold();
                Some(Come::Data(data))
            }
            Come::Trailers(trailers) => {
                self.come.push_front(Come::End);
                self.settle_hold();
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

    fn take_gathered(&mut self) -> Option<Come> {
        let gathered = mem::take(&mut self.gathered);
        (!gathered.is_empty()).then(|| Come::Data(gathered.freeze()))
    }

    /// Bytes of what has come and waits for who reads it.
    fn waiting(&self) -> usize {
        let trailers = |come: &Come| if let Come::Trailers(trailers) = come { heads::bytes_of(trailers) } else { 0 };
        self.come.iter().map(trailers).fold(self.bytes, usize::saturating_add)
    }

    /// Gives back what nothing waits for any more.
    fn settle_hold(&mut self) {
        let waiting = if self.hold.is_some() { self.waiting() } else { 0 };
        match &mut self.hold {
            Some(hold) if waiting > 0 => hold.lower_to(waiting),
            hold => *hold = None,
        }
    }

    /// Has what comes next stand behind all that has come.
    fn settle(&mut self) {
        if let Some(gathered) = self.take_gathered() {
            self.come.push_back(gathered);
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

    /// No more comes. What has come counts until it is taken.
    pub(crate) fn keep(&self, hold: Hold) {
        let mut state = self.state();
        if !state.left {
            state.hold = Some(hold);
            state.settle_hold();
        }
    }

    /// Waits until there is something to read for; false when nobody will read it.
    pub(crate) async fn until_wanted(&self) -> bool {
        loop {
            {
                let mut state = self.state();
                if state.left {
                    return false;
                }
                if mem::take(&mut state.wanted) || state.bytes < self.ahead {
                    return true;
                }
            }
            self.wanted.notified().await;
        }
    }

    /// Adds what has come. A piece keeps all the memory that was read of the connection with it, so one that waits is copied: sent byte
    /// by byte a body would take thousands of times as much.
    pub(crate) fn put(&self, come: Come) {
        let mut state = self.state();
        // A backend that has asked again meanwhile has asked for this piece.
        state.wanted = false;
        let is_asked_for = mem::take(&mut state.asked);
        if let Come::Data(data) = &come {
            state.bytes = state.bytes.saturating_add(data.len());
        }
        match come {
            Come::Data(data) if self.ahead > 0 && !is_asked_for => {
                state.gathered.extend_from_slice(&data);
                if state.gathered.len() >= GATHERED_BYTES {
                    state.settle();
                }
            }
            come => {
                state.settle();
                state.come.push_back(come);
            }
        }
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
        (state.wanted, state.asked) = (true, true);
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
        let mut state = self.0.state();
        // Who has it come may be there for as long as there is no answer.
        (state.left, state.bytes, state.hold) = (true, 0, None);
        state.come.clear();
        state.gathered = BytesMut::new();
        drop(state);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::shares::{Accounts, BodyBudget};
    use hyper::header::{DATE, ETAG, HeaderValue};

    fn pieces(reader: &BodyReader) -> Vec<usize> {
        std::iter::from_fn(|| match reader.read() {
            Piece::Data(data) => Some(data.len()),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn what_is_read_ahead_byte_by_byte_takes_as_much_as_its_bytes() {
        let intake = Arc::new(Intake::ahead(64 << 10));
        let reader = BodyReader(Arc::clone(&intake));
        // What was read of a connection at once, and is there as long as somebody has a piece of it.
        let read: Arc<[u8]> = Arc::from([7]);
        for _ in 0..64 << 10 {
            intake.put(Come::Data(Bytes::from_owner(Arc::clone(&read))));
        }
        assert_eq!(Arc::strong_count(&read), 1);
        assert_eq!(pieces(&reader), [GATHERED_BYTES; 4]);
        // What was asked for, and what comes behind it.
        intake.put(Come::Data(Bytes::from_owner(Arc::clone(&read))));
        intake.put(Come::Data(Bytes::from_static(b"yz")));
        intake.put(Come::Trailers(HeaderMap::new()));
        assert_eq!(pieces(&reader), [1, 2]);
        assert_eq!(reader.read(), Piece::End);
    }

    #[test]
    fn what_has_come_counts_until_it_is_taken_or_nobody_is_there_to_take_it() {
        let budget = BodyBudget::new(1 << 20);
        let hold = || {
            let mut hold = budget.hold(&Accounts::default());
            assert!(hold.grow(200_000));
            hold
        };
        let two = || [(ETAG, HeaderValue::from_static("1")), (DATE, HeaderValue::from_static("2"))];
        let trailers = || two().into_iter().collect::<HeaderMap>();
        let behind = heads::bytes_of(&trailers());
        for is_read in [true, false] {
            let intake = Arc::new(Intake::ahead(64 << 10));
            let reader = BodyReader(Arc::clone(&intake));
            intake.put(Come::Data(Bytes::from_static(&[7; 1_000])));
            intake.put(Come::Trailers(trailers()));
            intake.keep(hold());
            assert_eq!(budget.held(), 1_000 + behind);
            if is_read {
                assert!(matches!(reader.read(), Piece::Data(_)));
                assert_eq!(budget.held(), behind);
                assert_eq!((reader.read(), budget.held()), (Piece::End, 0));
            }
            drop(reader);
            assert_eq!(budget.held(), 0);
            // Who has it come may find out later.
            intake.keep(hold());
            assert_eq!(budget.held(), 0);
        }
        let intake = Arc::new(Intake::ahead(0));
        let _reader = BodyReader(Arc::clone(&intake));
        intake.keep(hold());
        assert_eq!(budget.held(), 0, "nothing has come");
    }

    #[test]
    fn a_body_that_is_read_ahead_comes_in_its_order_whoever_is_quicker() {
        let body: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        for (put, reads) in [(1, 0), (7, 1), (5_000, 3), (20_000, 1), (100_000, 9)] {
            let intake = Arc::new(Intake::ahead(64 << 10));
            let (reader, mut got) = (BodyReader(Arc::clone(&intake)), Vec::new());
            let take = |got: &mut Vec<u8>| match reader.read() {
                Piece::Data(data) => got.extend_from_slice(&data),
                Piece::Later => {}
                piece => panic!("{piece:?}"),
            };
            for piece in body.chunks(put) {
                intake.put(Come::Data(Bytes::copy_from_slice(piece)));
                (0..reads).for_each(|_| take(&mut got));
            }
            intake.put(Come::Failed(Reason::BodyTimeout));
            while got.len() < body.len() {
                take(&mut got);
            }
            assert!(got == body, "{put} {reads}");
            assert_eq!(reader.read(), Piece::Failed(Reason::BodyTimeout));
        }
    }
}
