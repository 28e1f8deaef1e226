//! A thread on which large things are dropped.
//!
//! Giving tens of MiB back to the kernel takes milliseconds, too long for a thread that has other work waiting, and so does dropping
//! thousands of texts, messages or sockets. So what is large or has many of these is dropped on a thread of its own.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use super::sched_attr::request_short_timeslice;

/// Instances with this much linear memory or more are dropped there. Giving back less takes a quarter of a millisecond at most,
/// even if all of it was written to. Handing over an instance whose memory is mostly untouched, as Go's 2.4 MiB, costs more
/// than dropping it: the other thread has to be woken, and changes page tables that this one uses.
const LARGE_BYTES: usize = 4 << 20;
/// What is dropped beside memory, each by itself: texts, messages, files, as bytes of memory that take as long to give back. A thousand
/// texts take some 0.1 ms.
const THING_BYTES: usize = 4 << 10;
/// What the dead have in mailboxes takes as long by fewer bytes: each may be a socket of a message, which the system closes.
const HELD_BYTES: usize = 16 << 10;

/// Is what has so many bytes of memory, and beside them so many `things`, for that thread?
pub(crate) fn is_large(bytes: usize, things: impl FnOnce() -> usize) -> bool {
    bytes >= LARGE_BYTES || bytes.saturating_add(things().saturating_mul(THING_BYTES)) >= LARGE_BYTES
}

/// The same of messages.
pub(crate) fn are_large(held_bytes: usize) -> bool {
    held_bytes >= HELD_BYTES
}

/// Handle to the thread, which ends when the last handle is gone. The cap on live instances bounds the queue, and what programs may have
/// on the host: an instance in it still holds its permit, and messages and names their share of the account.
#[derive(Clone)]
pub(crate) struct DropThread(Sender<Box<dyn Send>>);

impl DropThread {
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (sender, receiver) = unbounded::<Box<dyn Send>>();
        thread::Builder::new().name("tidepool-drop".into()).spawn(move || {
            // Instances in this queue hold slots that calls wait for.
            request_short_timeslice();
            for dead in receiver {
                drop(dead);
            }
        })?;
        Ok(DropThread(sender))
    }

    /// A handle without a thread: it drops what it is given at once.
    pub(crate) fn none() -> Self {
        DropThread(unbounded().0)
    }

    /// Drops `dead` on the thread.
    pub(crate) fn drop_there(&self, dead: Box<dyn Send>) {
        // Without a thread, `dead` comes back in the error and is dropped here.
        drop(self.0.send(dead));
    }
}
