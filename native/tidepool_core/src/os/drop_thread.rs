//! A thread on which large things are dropped.
//!
//! Giving tens of MiB back to the kernel takes milliseconds, too long for a thread that has other work waiting, so large
//! instances are dropped on a thread of their own.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use super::sched_attr::request_short_timeslice;

/// From this size of linear memory on, instances are dropped there. Giving back less, all of it written to, takes a quarter of a
/// millisecond at most. Handing an instance over costs more than dropping one of which little was written, as Go's 2.4 MiB: the
/// other thread has to be woken, and changes page tables that this one uses.
pub(crate) const LARGE_BYTES: usize = 4 << 20;

/// Handle to the thread, which ends when the last handle is gone. The queue is bounded by the cap on live
/// instances: what waits in it still holds its permit.
#[derive(Clone)]
pub(crate) struct DropThread(Sender<Box<dyn Send>>);

impl DropThread {
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (sender, receiver) = unbounded::<Box<dyn Send>>();
        thread::Builder::new().name("tidepool-reaper".into()).spawn(move || {
            // What waits here is in the way of others.
            request_short_timeslice();
            for dead in receiver {
                drop(dead);
            }
        })?;
        Ok(DropThread(sender))
    }

    /// A handle without a thread: what it is given is dropped at once.
    pub(crate) fn none() -> Self {
        DropThread(unbounded().0)
    }

    /// Drops `dead` on the thread.
    pub(crate) fn drop_there(&self, dead: Box<dyn Send>) {
        // Without its thread it comes back in the error and is dropped here.
        drop(self.0.send(dead));
    }
}
