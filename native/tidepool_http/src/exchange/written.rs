//! Answers on their way to their clients: charged, handed out in pieces, and timed by the pieces that were taken.
//!
//! A client decides when an answer is taken, and with HTTP/2 it may go on sending frames all the while. So only a piece of a
//! body that has gone counts as progress: a client that takes none for too long loses the rest.

use crate::backend::contract::Backend;
use crate::backend::outlet::Passed;
use crate::backend::streamed::Streamed;
use crate::budget::answer_window::AnswerShare;
use crate::budget::shares::CHARGED_BYTES;
use crate::budget::shares::Hold;
use crate::budget::shares::PIECE_BYTES;
use crate::connection::state::{ConnectionState, Untaken};
use crate::edge::shared::Edge;
use crate::message::refusal::Refusal;
use crate::message::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a client takes in a second at least, on the whole; an answer has as long as an upload whatever its size.
const LEAST_RATE: u64 = 32 << 10;

/// An answer as HTTP.
pub(crate) type Http = hyper::Response<Written>;

/// Turns an answer into HTTP.
///
/// # Errors
///
/// [`crate::Reason::Overloaded`] when it finds no room beside those that are still being written.
pub(crate) fn written(
    edge: &Edge,
    connection: &Arc<ConnectionState>,
    mut response: Response,
    share: AnswerShare,
) -> Result<Http, Refusal> {
    let bytes = std::mem::take(&mut response.body);
    if bytes.is_empty() || (bytes.len() < CHARGED_BYTES && !connection.is_multiplexed()) {
        response.body = bytes;
        return Ok(whole(response));
    }
    let mut hold = edge.budget.hold(&connection.accounts_with(share.namespace.clone()));
    if !hold.grow(bytes.len()) {
        return Err(edge.overloaded());
    }
    if bytes.len() < CHARGED_BYTES {
        response.body = Bytes::from_owner(Charged { bytes, _hold: hold });
        return Ok(whole(response));
    }
    let left = bytes.len();
    let size = bytes.len() as u64;
    let answer = Arc::new(Unwritten {
        size,
        taken: AtomicU64::new(0),
        rest: Mutex::new(Some(Rest { bytes, hold })),
        seen: Mutex::default(),
        backend: Arc::clone(&edge.backend),
    });
    connection.answers().push(Arc::<Unwritten>::clone(&answer));
    let pieces = Pieces { connection: Arc::clone(connection), answer, left, share };
    Ok(response.into_http().map(|_| Written::Pieces(pieces)))
}

impl Edge {
    /// What the client gets: the answer, or a refusal when there is no room for it.
    pub(crate) fn reply(
        &self,
        connection: &Arc<ConnectionState>,
        answer: Result<(Response, AnswerShare), Refusal>,
    ) -> Http {
        answer.and_then(|(response, share)| written(self, connection, response, share)).unwrap_or_else(|refusal| {
            self.gauges.count_refusal(refusal.reason);
            whole(refusal.into_response())
        })
    }
}

/// An answer that costs too little to be counted: a refusal, say.
pub(crate) fn whole(response: Response) -> Http {
    response.into_http().map(Written::Whole)
}

/// The answer to a HEAD: it says how long the body would be.
pub(crate) fn without_body(http: Http) -> Http {
    let (mut head, body) = http.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    Http::from_parts(head, Written::Whole(Full::default()))
}

/// The body of an answer.
pub(crate) enum Written {
    /// In one piece.
    Whole(Full<Bytes>),
    /// In several.
    Pieces(Pieces),
    /// In several, of which the backend has yet to make some.
    Stream(Box<Streamed>),
    /// As the function makes it that handles the request.
    Passed(Box<Passed>),
}

/// A body that gives its share of the budget back when nothing refers to it any more.
struct Charged {
    bytes: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that is handed out in pieces.
pub(crate) struct Pieces {
    connection: Arc<ConnectionState>,
    answer: Arc<Unwritten>,
    left: usize,
    share: AnswerShare,
}

/// What is left of an answer, where the timeout task finds it.
pub(crate) struct Unwritten {
    size: u64,
    taken: AtomicU64,
    /// `None` when all is taken, or the client has lost it.
    rest: Mutex<Option<Rest>>,
    seen: Mutex<Option<Seen>>,
    /// Has memory for pieces.
    backend: Arc<dyn Backend>,
}

#[derive(Debug)]
struct Rest {
    bytes: Bytes,
    hold: Hold,
}

/// What the timeout task has seen of an answer.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    taken: u64,
    since: Instant,
}

impl std::fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwritten").field("size", &self.size).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Unwritten {
    fn rest(&self) -> MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece, copied where it is not all of the answer, so that none of them keeps all of it.
    fn piece(&self) -> Option<Bytes> {
        let mut place = self.rest();
        let rest = place.as_mut()?;
        self.taken.fetch_add(1, Relaxed);
        if rest.bytes.len() > PIECE_BYTES {
            let piece = rest.bytes.split_to(PIECE_BYTES);
            return Some(self.copy(&piece));
        }
        let Rest { bytes, hold } = place.take()?;
        if bytes.len() as u64 == self.size {
            return Some(Bytes::from_owner(Charged { bytes, _hold: hold }));
        }
        Some(self.copy(&bytes))
    }

    fn copy(&self, piece: &[u8]) -> Bytes {
        let mut copy = self.backend.buffer(piece.len());
        copy.extend_from_slice(piece);
        self.backend.joined(copy)
    }
}

impl Untaken for Unwritten {
    fn expire(&self, now: Instant, still: Duration, least: Duration) -> bool {
        let taken = self.taken.load(Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.unwrap_or(Seen { first: now, taken, since: now });
        let since = if before.taken == taken { before.since } else { now };
        *seen = Some(Seen { first: before.first, taken, since });
        let whole = least.max(Duration::from_secs(self.size / LEAST_RATE));
        let overdue =
            now.saturating_duration_since(since) >= still || now.saturating_duration_since(before.first) >= whole;
        overdue && self.rest().take().is_some()
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let pieces = match self.get_mut() {
            Self::Whole(full) => {
                return Pin::new(full)
                    .poll_frame(cx)
                    .map(|frame| frame.map(|frame| frame.map_err(|never| match never {})));
            }
            Self::Pieces(pieces) => pieces,
            Self::Stream(stream) => return stream.poll_piece(cx),
            Self::Passed(passed) => return passed.poll_piece(cx),
        };
        if pieces.left == 0 {
            return Poll::Ready(None);
        }
        let Some(piece) = pieces.answer.piece() else {
            return Poll::Ready(Some(Err(Error::new(ErrorKind::TimedOut, "the client took too long"))));
        };
        pieces.left = pieces.left.saturating_sub(piece.len());
        pieces.connection.piece_out();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Pieces(pieces) => pieces.left == 0,
            Self::Stream(stream) => stream.is_over(),
            Self::Passed(passed) => passed.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.left as u64),
            Self::Stream(_) => SizeHint::default(),
            Self::Passed(passed) => passed.size_hint(),
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.left == 0 {
            self.share.taken(&self.connection.answer_window);
        }
        self.connection.forget(&self.answer);
    }
}
