//! A request's body on its way to a backend that reads it piece by piece: no piece is read from the client before the backend
//! asks for it.

use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
}

#[derive(Default)]
struct State {
    wanted: bool,
    /// A piece, or `None` for the end.
    come: Option<Result<Option<Bytes>, Reason>>,
    come_signal: Option<Box<dyn Fn() + Send>>,
}

impl Intake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn until_wanted(&self) {
        loop {
            if std::mem::take(&mut self.state().wanted) {
                return;
            }
            self.wanted.notified().await;
        }
    }

    pub(crate) fn put(&self, come: Result<Option<Bytes>, Reason>) {
        let mut state = self.state();
        // A backend that has asked again meanwhile has asked for this piece.
        state.wanted = false;
        state.come = Some(come);
        // Under the lock: the signal only sends a message, and must not call the reader.
        if let Some(signal) = &state.come_signal {
            signal();
        }
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
        match state.come.take() {
            Some(Ok(Some(data))) => Piece::Data(data),
            Some(Ok(None)) => {
                state.come = Some(Ok(None));
                Piece::End
            }
            Some(Err(reason)) => {
                state.come = Some(Err(reason));
                Piece::Failed(reason)
            }
            None => {
                state.wanted = true;
                self.0.wanted.notify_one();
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
