//! What a ring's thread has in common with those who use the ring: what they want of it, and how it is woken.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::watch;

use super::readiness::Readiness;

/// A socket as the ring's thread has it.
pub(super) trait Polled: Send + Sync {
    fn fd(&self) -> RawFd;
    fn readiness(&self) -> &Readiness;
}

pub(super) enum Command {
    Poll(u64, Arc<dyn Polled>),
    Cancel(u64),
    Stop,
}

pub(super) struct Shared {
    pub(super) commands: SegQueue<Command>,
    pub(super) sleeps: AtomicBool,
    /// Set when the ring has failed: nobody looks at commands any more.
    pub(super) failed: AtomicBool,
    /// Sockets that were dropped and are the ring's to close, and how many of them are closed.
    pub(super) dropped: AtomicU64,
    pub(super) closed: watch::Sender<u64>,
    pub(super) wake: OwnedFd,
}

impl Shared {
    /// One with nothing to do.
    ///
    /// # Errors
    /// When the system gives no event to wake a thread by.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Shared {
            commands: SegQueue::new(),
            sleeps: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            closed: watch::Sender::new(0),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(super) fn send(&self, command: Command) {
        self.commands.push(command);
        if self.has_failed() {
            return self.refuse();
        }
        if self.sleeps.swap(false, Ordering::SeqCst) {
            // It fails when it has been written to so often that the thread is awake in any case.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Nobody does what is wanted any more.
    pub(super) fn refuse(&self) {
        while let Some(command) = self.commands.pop() {
            if let Command::Poll(_, socket) = command {
                socket.readiness().fail(libc::EIO);
            }
        }
    }
}
