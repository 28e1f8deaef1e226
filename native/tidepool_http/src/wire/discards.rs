//! How what nobody wants is read: slowly, and for so long and no longer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a client may go on sending what was refused before it is cut off.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How much of what nobody wants is read at once.
pub(crate) const DISCARD_BYTES: usize = 256 << 10;

/// How long all clients wait for the next of it, so that sending it costs the server little, however many do.
const DISCARD_PAUSE: Duration = Duration::from_millis(4);

/// When the next of what nobody wants is read, of all connections together.
#[derive(Debug)]
pub(crate) struct Discards(Mutex<Instant>);

impl Default for Discards {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Discards {
    /// When whoever has read [`DISCARD_BYTES`] may read on: behind all who asked before.
    pub(crate) fn turn(&self) -> Instant {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(Instant::now()) + DISCARD_PAUSE;
        *last
    }
}
