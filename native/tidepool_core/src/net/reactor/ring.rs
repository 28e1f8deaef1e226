//! A ring of `io_uring` that tells when sockets are ready, by polls that go on (`IORING_POLL_ADD_MULTI`, Linux 5.13).
//!
//! One thread has the ring, submits to it and reads what it completes: what wakes a poll runs on the thread that has submitted it,
//! which so is never one that runs guests. Others leave what they want in a queue, and wake the thread if it sleeps.
//!
//! A poll keeps its socket open. So a socket that is dropped is shut down at once, which is what its peer sees, and closed when
//! the ring has let go of it. Whoever opens one waits until those are closed that were dropped before, or all but some: so there are
//! never many more than programs have, and an address is free again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::task::{Context, Poll};
use std::thread;

use rustix::net::Shutdown;
use tokio::io::Interest;

use super::driver::{FIRST, run};
use super::readiness::Readiness;
use super::shared::{Command, Polled, Shared};

/// A ring, and the thread that has it, which ends with this.
pub(crate) struct Ring {
    shared: Arc<Shared>,
    next: AtomicU64,
}

impl Ring {
    /// # Errors
    /// When the kernel gives no ring, or one that has no such polls.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::new()?);
        let (sender, begun) = sync_channel(1);
        let on_thread = Arc::clone(&shared);
        thread::Builder::new().name("tidepool-ring".to_owned()).spawn(move || run(on_thread, &sender))?;
        match begun.recv() {
            Ok(Ok(())) => Ok(Arc::new(Ring { shared, next: AtomicU64::new(FIRST) })),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the ring's thread has ended")),
        }
    }

    /// Whether it serves no more sockets.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Waits until of the sockets that were dropped before all but so many are closed.
    pub(super) async fn closed(&self, but: u64) {
        let dropped = self.shared.dropped.load(Ordering::SeqCst).saturating_sub(but);
        // The sender is as old as the ring.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed >= dropped).await;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.send(Command::Stop);
    }
}

/// A socket that a ring listens to, from the first time that somebody waits for it.
pub(crate) struct OnRing<S: AsFd + Send + Sync + 'static> {
    ring: Arc<Ring>,
    number: u64,
    entry: Arc<Entry<S>>,
}

struct Entry<S> {
    socket: S,
    readiness: Readiness,
}

impl<S: AsFd + Send + Sync> Polled for Entry<S> {
    fn fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }

    fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl<S: AsFd + Send + Sync + 'static> OnRing<S> {
    pub(super) fn new(ring: &Arc<Ring>, socket: S) -> Self {
        let number = ring.next.fetch_add(1, Ordering::Relaxed);
        OnRing { ring: Arc::clone(ring), number, entry: Arc::new(Entry { socket, readiness: Readiness::new() }) }
    }

    pub(super) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    pub(super) fn socket(&self) -> &S {
        &self.entry.socket
    }

    pub(super) fn try_io<T>(&self, interest: Interest, operation: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.entry.readiness.try_io(interest, || operation(&self.entry.socket))
    }

    pub(super) fn ready(&self, interest: Interest) -> Waiting<'_, S> {
        Waiting { socket: self, interest, number: None }
    }

    /// Nothing would come of trying now.
    pub(super) fn is_not_ready(&self) {
        self.entry.readiness.is_not_ready();
    }

    fn arm(&self) {
        self.ring.shared.send(Command::Poll(self.number, Arc::clone(&self.entry) as Arc<dyn Polled>));
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for OnRing<S> {
    fn drop(&mut self) {
        if self.entry.readiness.is_armed() {
            // Sockets without a peer say that they have none.
            let _ = rustix::net::shutdown(self.entry.socket.as_fd(), Shutdown::Both);
            self.ring.shared.dropped.fetch_add(1, Ordering::SeqCst);
            self.ring.shared.send(Command::Cancel(self.number));
        }
    }
}

/// A wait for a socket, which ends with its drop.
pub(super) struct Waiting<'a, S: AsFd + Send + Sync + 'static> {
    socket: &'a OnRing<S>,
    interest: Interest,
    number: Option<u64>,
}

impl<S: AsFd + Send + Sync + 'static> Future for Waiting<'_, S> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, interest) = (self.socket, self.interest);
        socket.entry.readiness.poll(interest, &mut self.number, context, || socket.arm())
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.socket.entry.readiness.leave(number);
        }
    }
}
