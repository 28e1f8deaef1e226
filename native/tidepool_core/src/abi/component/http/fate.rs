//! What becomes of a response: told between the guest that makes it and who takes it, in both directions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::source::Source;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::recording::outcome::Answered;

/// Shared by a handler's call and the body of its response.
pub(super) struct Fate {
    state: Mutex<State>,
    /// Most bytes of the body.
    allowed: u64,
}

#[derive(Default)]
struct State {
    begun: Begun,
    /// What the body comes from, until the handler has returned.
    source: Option<Source>,
    /// Why the guest is to end.
    end: Option<End>,
    handler: Handler,
    /// Since when who takes the body could have asked for more of it, while it does not wait for that.
    taken_at: Option<Instant>,
    guest: Option<Waker>,
    taker: Option<Waker>,
}

/// How far a response has come.
#[derive(Default)]
enum Begun {
    #[default]
    Not,
    /// Its head has gone.
    Yes,
    /// The handler has said what has gone wrong, in place of one.
    Refused(String),
}

/// Where the handler is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Handler {
    #[default]
    Runs,
    /// It has returned: what it has not finished by now it will not.
    Returned,
    /// It was stopped.
    Stopped,
}

#[derive(Clone, Copy)]
enum End {
    /// Who takes the body takes no more of it.
    Gone,
    /// The body has more bytes than it may have.
    TooLarge,
}

impl Fate {
    /// That of a response whose body may have so many bytes.
    pub(super) fn new(allowed: u64) -> Self {
        Fate { state: Mutex::default(), allowed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head is on its way, and the body behind it, if there is one that is asked for.
    pub(super) fn begin(&self, source: Source, is_asked: bool) {
        let mut state = self.state();
        (state.begun, state.source) = (Begun::Yes, Some(source));
        state.taken_at = is_asked.then(Instant::now);
    }

    /// Who takes the body asks for more of it; where the handler is. While it runs, its end wakes who asks.
    pub(super) fn ask(&self, cx: &Context<'_>) -> Handler {
        let mut state = self.state();
        // Set before the guest can see that there is room: it may be polled at once.
        state.taken_at = Some(Instant::now());
        if state.handler == Handler::Runs {
            note(&mut state.taker, cx);
        }
        state.handler
    }

    /// The client is not who keeps the guest waiting: it waits for the guest, or has all that there is for it.
    pub(super) fn rest(&self) {
        self.state().taken_at = None;
    }

    /// Since when who takes the body could have asked for more of it, if it does not wait for that.
    pub(super) fn taken_at(&self) -> Option<Instant> {
        self.state().taken_at
    }

    /// There is none.
    pub(super) fn refuse(&self, message: String) {
        self.state().begun = Begun::Refused(message);
    }

    /// Ready when the guest is to end, with the reason.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Poll<CallError> {
        let mut state = self.state();
        match state.end {
            Some(End::Gone) => Poll::Ready(CallError::ClientGone),
            Some(End::TooLarge) => Poll::Ready(CallError::limit(Limit::Reply, self.allowed)),
            None => {
                note(&mut state.guest, cx);
                Poll::Pending
            }
        }
    }

    /// The handler has returned: what a recording has of the response, and what is wrong when there is none, or one of too many bytes,
    /// taken or not.
    pub(super) fn over(&self) -> Result<Option<Answered>, CallError> {
        let source = self.state().source.take();
        // Not under the lock: who takes the body has both in the other order.
        let fits = source.as_ref().is_none_or(Source::close);
        let mut state = self.state();
        state.handler = Handler::Returned;
        let taker = state.taker.take();
        let too_large = !fits || matches!(state.end, Some(End::TooLarge));
        let outcome = match std::mem::take(&mut state.begun) {
            _ if too_large => Err(CallError::limit(Limit::Reply, self.allowed)),
            Begun::Yes => Ok(source.and_then(|source| source.recorded())),
            Begun::Refused(message) => Err(CallError::NoResponse { message }),
            Begun::Not => {
                let message = "the handler returned without a response: it has to set one".into();
                Err(CallError::NoResponse { message })
            }
        };
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        outcome
    }

    /// The handler is stopped, unless it has returned.
    fn stop(&self) {
        let mut state = self.state();
        if state.handler == Handler::Runs {
            state.handler = Handler::Stopped;
        }
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Where the handler is.
    pub(super) fn handler(&self) -> Handler {
        self.state().handler
    }

    /// The rest of the body is not taken.
    pub(super) fn leave(&self) {
        self.end(End::Gone);
    }

    /// The body has more bytes than it may have.
    pub(super) fn exceed(&self) {
        self.end(End::TooLarge);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        let guest = state.guest.take();
        drop(state);
        if let Some(guest) = guest {
            guest.wake();
        }
    }
}

fn note(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// Held while the handler runs. It is dropped before the handler's store is, whatever stops it.
pub(super) struct Running<'a>(pub(super) &'a Fate);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
