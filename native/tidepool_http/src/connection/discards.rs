//! How the server reads bodies that it throws away: slowly, and for a bounded time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a client may go on sending what was refused before it is cut off.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How much is read and thrown away at once.
pub(crate) const DISCARD_BYTES: usize = 256 << 10;

/// The pause after that, one after another for all clients, so that it costs the server little however many send.
const DISCARD_PAUSE: Duration = Duration::from_millis(4);

/// When the next [`DISCARD_BYTES`] may be read, over all connections.
#[derive(Debug)]
pub(crate) struct Discards(Mutex<Instant>);

impl Default for Discards {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Discards {
    /// When a connection that has read [`DISCARD_BYTES`] may read on: after all that asked before it.
    pub(crate) fn next(&self) -> Instant {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(Instant::now()) + DISCARD_PAUSE;
        *last
    }
}
