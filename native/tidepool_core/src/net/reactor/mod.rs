//! Who says when a socket is ready: the I/O runtime's `epoll`, or a ring of `io_uring`.
//!
//! Both tell of edges, and operations are the same on both: each is tried by a system call on its caller's thread, straight
//! into what the caller gives. So a guest's memory is the kernel's for the length of that call, and never afterwards.

mod driver;
mod readiness;
mod ring;
mod shared;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::ring::{OnRing, Ring};
use crate::base::config::IoBackend;

/// Who says when the sockets of a node are ready.
#[derive(Clone)]
pub(crate) enum Reactor {
    Tokio,
    Uring(Arc<Ring>),
}

impl Reactor {
    /// The one that is wanted, or tokio, and why, where the kernel gives no ring.
    pub(crate) fn new(wanted: IoBackend) -> (Self, Option<io::Error>) {
        match wanted {
            IoBackend::Tokio => (Self::Tokio, None),
            IoBackend::Uring => match Ring::start() {
                Ok(ring) => (Self::Uring(ring), None),
                Err(error) => (Self::Tokio, Some(error)),
            },
        }
    }

    pub(crate) fn backend(&self) -> IoBackend {
        match self {
            Self::Tokio => IoBackend::Tokio,
            Self::Uring(_) => IoBackend::Uring,
        }
    }

    /// Listens to a socket, which does not block.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn register<S: AsFd + AsRawFd + Send + Sync + 'static>(&self, socket: S) -> io::Result<Registered<S>> {
        match self {
            #[expect(
                deprecated,
                reason = "what replaces it is unsafe, for sockets that don't own their number: these do"
            )]
            Self::Tokio => AsyncFd::new(socket).map(Registered::Tokio),
            Self::Uring(ring) if ring.has_failed() => Self::Tokio.register(socket),
            Self::Uring(ring) => Ok(Registered::Uring(OnRing::new(ring, socket))),
        }
    }

    /// Waits until those sockets are closed that were dropped before, or all but so many: before one more is opened.
    pub(crate) async fn closed(&self, but: u64) {
        if let Self::Uring(ring) = self {
            ring.closed(but).await;
        }
    }
}

/// Sockets that may be closing while others are opened.
pub(crate) const CLOSING: u64 = 64;

/// A socket, and what it is ready for.
pub(crate) enum Registered<S: AsFd + AsRawFd + Send + Sync + 'static> {
    Tokio(AsyncFd<S>),
    Uring(OnRing<S>),
}

impl<S: AsFd + AsRawFd + Send + Sync + 'static> Registered<S> {
    pub(crate) fn socket(&self) -> &S {
        match self {
            Self::Tokio(socket) => socket.get_ref(),
            Self::Uring(socket) => socket.socket(),
        }
    }

    /// As [`Reactor::closed`].
    pub(crate) async fn closed(&self, but: u64) {
        if let Self::Uring(on) = self {
            on.ring().closed(but).await;
        }
    }

    /// Another socket of the same reactor's.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn another<T: AsFd + AsRawFd + Send + Sync + 'static>(&self, socket: T) -> io::Result<Registered<T>> {
        match self {
            Self::Tokio(_) => Reactor::Tokio.register(socket),
            Self::Uring(on) => Reactor::Uring(Arc::clone(on.ring())).register(socket),
        }
    }

    /// Tries an operation, if the socket may be ready for it. One that would block is not tried again until it is.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`], and those of the operation.
    pub(crate) fn try_io<T>(&self, interest: Interest, operation: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tokio(socket) => socket.try_io(interest, operation),
            Self::Uring(socket) => socket.try_io(interest, operation),
        }
    }

    /// Waits until an operation may be tried again. Many may wait at once.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tokio(socket) => socket.ready(interest).await.map(|_guard| ()),
            Self::Uring(socket) => socket.ready(interest).await,
        }
    }

    /// Waits until a connection is there, or is not to be.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        match self {
            Self::Tokio(_) => {}
            // It was not tried yet, and so is not known not to be ready.
            Self::Uring(socket) => socket.is_not_ready(),
        }
        self.ready(Interest::WRITABLE).await
    }

    /// Tries an operation until it does not block.
    ///
    /// # Errors
    /// Those of the operation.
    pub(crate) async fn io<T>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match self.try_io(interest, &mut operation) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready(interest).await?,
                done => return done,
            }
        }
    }
}
