//! What streams of all kinds have in common.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::Interest;

use super::error::NetError;

/// What came of trying something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tried<T> {
    Done(T),
    /// It would block: try again when the socket is ready for this.
    Wait(Interest),
}

/// A stream of bytes, which all its clones share.
pub(crate) trait Stream: Send + Sync + 'static {
    /// Reads what is there; 0 is the end.
    ///
    /// # Errors
    /// What the system, or the protocol, says.
    fn try_read(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// What the system, or the protocol, says.
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> Result<Tried<usize>, NetError>;

    /// Passes on to the system what was written.
    ///
    /// # Errors
    /// What the system, or the protocol, says.
    fn try_flush(&self) -> Result<Tried<()>, NetError>;

    /// Waits until it may be tried again. Many may wait at once.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send;

    fn timeouts(&self) -> &Timeouts;
}

/// How long operations may take, in ms. All clones of a stream share them.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) read: Timeout,
    pub(crate) write: Timeout,
    pub(crate) peek: Timeout,
}

/// A number of ms; `u64::MAX` is without end.
#[derive(Debug)]
pub(crate) struct Timeout(AtomicU64);

impl Timeout {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let endless = || Timeout(AtomicU64::new(u64::MAX));
        Timeouts { read: endless(), write: endless(), peek: endless() }
    }
}

/// An outcome in which what would block is [`Tried::Wait`].
pub(super) fn tried<T>(outcome: io::Result<T>, interest: Interest) -> Result<Tried<T>, NetError> {
    match outcome {
        Ok(done) => Ok(Tried::Done(done)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Tried::Wait(interest)),
        Err(error) => Err(error.into()),
    }
}
