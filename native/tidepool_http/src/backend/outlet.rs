//! Bodies of responses that functions make, on their way to their clients: no process is between.

use crate::backend::channel::Kept;
use crate::backend::exchange::Body;
use crate::budget::heads;
use crate::connection::state::{ConnectionState, Stillness, Untaken};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::HeaderMap;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Takes out of trailers what does not go out.
pub(crate) type Confine = fn(&mut HeaderMap);

/// The body of a response that its function makes, as hyper asks for it.
pub(crate) struct Passed {
    outlet: Arc<Outlet>,
    connection: Arc<ConnectionState>,
    confine: Confine,
}

/// The same, where the timeout task finds it.
struct Outlet(Mutex<State>);

struct State {
    /// `None` when the client is given up.
    body: Option<Body>,
    /// The client waits for the function, and not the other way round.
    waits: bool,
    /// Pieces that the client has taken.
    taken: u64,
    seen: Stillness,
    is_over: bool,
    /// What is told of a body that broke, once what came before has gone out.
    broken: Option<Error>,
    kept: Option<Box<dyn Kept>>,
}

impl Outlet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives back what the response has of the server.
    fn end(&mut self, is_whole: bool) {
        self.is_over = true;
        if let Some(kept) = self.kept.take() {
            kept.give_back(is_whole);
        }
    }
}

impl Passed {
    /// A body that keeps something of the server until it is over.
    pub(crate) fn new(body: Body, kept: Box<dyn Kept>, connection: &Arc<ConnectionState>, confine: Confine) -> Self {
        let state = State {
            body: Some(body),
            waits: false,
            taken: 0,
            seen: Stillness::default(),
            is_over: false,
            broken: None,
            kept: Some(kept),
        };
        let outlet = Arc::new(Outlet(Mutex::new(state)));
        connection.answers().push(Arc::<Outlet>::clone(&outlet));
        Passed { outlet, connection: Arc::clone(connection), confine }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.outlet.state();
        if let Some(error) = state.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(body) = &mut state.body else {
            return Poll::Ready(Some(Err(Error::new(ErrorKind::TimedOut, "the client took too long"))));
        };
        let mut piece = Pin::new(body).poll_frame(cx);
        state.waits = piece.is_pending();
        match &mut piece {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                state.taken += 1;
                // Nothing is behind trailers, and hyper does not ask.
                if let Some(trailers) = frame.trailers_mut() {
                    (self.confine)(trailers);
                    if self.connection.is_multiplexed()
                        && let Some(hold) = state.kept.as_mut().and_then(|kept| kept.hold())
                    {
                        heads::carry(trailers, hold);
                    }
                    state.end(true);
                }
                drop(state);
                self.connection.piece_out();
            }
            Poll::Ready(None) => state.end(true),
            Poll::Ready(Some(Err(_))) => {
                state.end(true);
                // hyper sends what it has when there is nothing to take, and drops it with a connection that fails.
                if let Poll::Ready(Some(Err(error))) = piece {
                    state.broken = Some(error);
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        piece
    }

    pub(crate) fn is_over(&self) -> bool {
        self.outlet.state().body.as_ref().is_some_and(hyper::body::Body::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.outlet.state().body.as_ref().map_or_else(SizeHint::default, hyper::body::Body::size_hint)
    }
}

impl Drop for Passed {
    /// A body that was given up counts against its client.
    fn drop(&mut self) {
        let mut state = self.outlet.state();
        let is_whole = state.is_over || state.body.as_ref().is_some_and(hyper::body::Body::is_end_stream);
        state.end(is_whole);
        state.body = None;
        drop(state);
        self.connection.forget(&self.outlet);
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outlet").finish_non_exhaustive()
    }
}

impl Untaken for Outlet {
    /// Gives a client up that has taken nothing for too long of what there is; whether it did.
    fn expire(&self, now: Instant, still: Duration, _least: Duration) -> bool {
        let mut state = self.state();
        if state.is_over || state.waits || state.body.is_none() {
            state.seen.end();
            return false;
        }
        let taken = state.taken;
        if !state.seen.lasts(taken, now, still) {
            return false;
        }
        state.end(false);
        state.body = None;
        true
    }
}
