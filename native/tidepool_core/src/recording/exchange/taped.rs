//! How a tape answers for streams, and who takes the response of a call that is replayed.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use http_body::Body as _;

use super::streams::{Said, Stream};
use crate::base::request::exchange::Respond;
use crate::recording::entry::Entry;
use crate::recording::player::Unlike;
use crate::recording::tape::{State, Tape};

impl Tape {
    /// What a stream says, of `size` bytes at most, if that is on the tape; `None` when it is to be asked, which is kept by
    /// [`Tape::keep_said`]. Of another version a request's body is that of the recording, in pieces as it asks for them.
    ///
    /// # Errors
    /// When this was never asked.
    pub(crate) fn said(&self, stream: Stream, size: usize) -> Option<Result<Said, Unlike>> {
        match &mut *self.state() {
            State::Recording(_) => None,
            State::Playing(player) => player.said(stream, size).transpose(),
        }
    }

    /// Keeps what a stream has said.
    pub(crate) fn keep_said(&self, stream: Stream, said: impl FnOnce() -> Said) {
        if let State::Recording(recorder) = &mut *self.state() {
            recorder.note(|| Entry::Said(stream, said()));
        }
    }

    /// Where the response of a call that is replayed goes: it is taken as fast as its guest writes it.
    pub(crate) fn taker(self: &Arc<Self>) -> Respond {
        let tape = Arc::clone(self);
        Box::new(move |response| {
            let before = tape.taken.lock().unwrap_or_else(PoisonError::into_inner).replace(response.into_body());
            drop(before);
        })
    }

    /// Takes what there is of that response.
    pub(crate) fn take_response(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut context = Context::from_waker(Waker::noop());
        // What is behind its end is no more than that.
        while let Some(body) = &mut *taken
            && !body.is_end_stream()
            && matches!(Pin::new(body).poll_frame(&mut context), Poll::Ready(Some(Ok(_frame))))
        {}
    }
}
