//! The ends of a request that is not answered at once: the backend answers by one, the edge waits with the other.

use crate::backend::channel::{Reader, Signal, Writer, channel};
use crate::backend::exchange::Body;
use crate::message::response::Response;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::oneshot;

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// It is answered.
    Now(Response),
    /// Its responder answers it; see [`Deferral::responder`].
    Pending(PendingAnswer),
}

/// For a request that is not answered at once: makes its responder.
pub struct Deferral<'a> {
    /// The number of the last one.
    pub(crate) last_id: &'a AtomicU64,
}

impl Deferral<'_> {
    /// The responder, and what the backend returns in place of an answer.
    ///
    /// `hung_up` is called when an answer will not be read: the client is gone, or a drain passed its limit. Never when the
    /// answer was accepted. It may race with an answer being sent, which is then ignored. Must return at once; a panic is
    /// swallowed.
    ///
    /// A client of HTTP/1 is gone when it closes or resets, half-closing included. One that has sent more requests behind
    /// the awaited one (pipelining) is only missed when the answer is written.
    #[must_use]
    pub fn responder(self, hung_up: impl FnOnce() + Send + 'static) -> (Responder, Answer) {
        let (sender, receiver) = oneshot::channel();
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        (Responder { id, sender }, Answer::Pending(PendingAnswer { receiver, hung_up: Box::new(hung_up) }))
    }
}

pub(crate) type HungUp = Box<dyn FnOnce() + Send>;

/// What a responder was given.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The answer.
    Whole(Response),
    /// Its head; the body comes piece by piece.
    Pieces(Response, Reader),
    /// One that a function has made; its body comes as the function writes it.
    Passed(hyper::Response<Body>),
}

/// The edge's end of a responder.
pub struct PendingAnswer {
    pub(crate) receiver: oneshot::Receiver<Reply>,
    pub(crate) hung_up: HungUp,
}

impl fmt::Debug for PendingAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PendingAnswer").finish_non_exhaustive()
    }
}

/// Answers one request, from any thread. Dropped unanswered, the client gets 500 `aborted`.
#[derive(Debug)]
pub struct Responder {
    id: u64,
    sender: oneshot::Sender<Reply>,
}

impl Responder {
    /// Unique for the life of the server.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Sends the answer. False, and the answer dropped, when its request is hung up: then, and only then, `hung_up` is or was
    /// called.
    pub fn answer(self, response: Response) -> bool {
        self.sender.send(Reply::Whole(response)).is_ok()
    }

    /// Begins an answer whose body comes piece by piece: `head` without a body. `None` when its request is hung up: then,
    /// and only then, `hung_up` is or was called. From then on `signal` tells what becomes of the client.
    ///
    /// Only a resource ([`crate::Route::Resource`]) may be answered with a body of unknown length; others get 500 `aborted`.
    pub fn stream(self, head: Response, signal: impl Fn(Signal) + Send + Sync + 'static) -> Option<Writer> {
        let (writer, reader) = channel(signal);
        let Err(refused) = self.sender.send(Reply::Pieces(head, reader)) else { return Some(writer) };
        // In this order, so that `signal` is not called for a stream that was not begun.
        drop(writer);
        drop(refused);
        None
    }

    /// Passes on what a function responds to a [`Route::Exchange`](crate::Route::Exchange); others get 500 `aborted`. False, and the
    /// response dropped, when its request is hung up. Whoever makes the body sees by its drop that the client takes no more of it.
    pub fn pass(self, response: hyper::Response<Body>) -> bool {
        self.sender.send(Reply::Passed(response)).is_ok()
    }

    /// Whether an answer would be dropped, because its request is hung up.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.sender.is_closed()
    }
}
