//! A thread on which large things are dropped.
//!
//! Giving tens of MiB back to the kernel takes milliseconds, too long for a thread that has other work waiting, so large
//! instances are dropped on a thread of their own.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use super::sched_attr::request_short_timeslice;

/// Instances with this much linear memory or more are dropped there. Giving back less takes a quarter of a millisecond at most,
/// even if all of it was written to. Handing over an instance whose memory is mostly untouched, as Go's 2.4 MiB, costs more
/// than dropping it: the other thread has to be woken, and changes page tables that this one uses.
pub(crate) const LARGE_BYTES: usize = 4 << 20;

/// Handle to the thread, which ends when the last handle is gone. The cap on live instances bounds the queue: an instance in
/// it still holds its permit.
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
