//! Where large instances go to die.
//!
//! Giving tens of MiB back to the kernel takes milliseconds, too long for a thread that has other work waiting, so large
//! instances are dropped on a thread of their own.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::instance::Parts;
use crate::on_time::take_short_slices;

/// From this size of linear memory on, the reaper does it. Giving back less, all of it written to, takes a quarter of a
/// millisecond at most. Handing an instance over costs more than dropping one of which little was written, as Go's 2.4 MiB: the
/// other thread has to be woken, and changes page tables that this one uses.
pub(crate) const LARGE_BYTES: usize = 4 << 20;

/// Handle to the reaper's thread, which ends when the last handle is gone. The queue is bounded by the cap on live
/// instances: what waits in it still holds its permit.
#[derive(Clone)]
pub(crate) struct Reaper(Sender<Box<Parts>>);

impl Reaper {
    pub(crate) fn spawn() -> std::io::Result<Self> {
        let (sender, receiver) = unbounded::<Box<Parts>>();
        thread::Builder::new().name("tidepool-reaper".into()).spawn(move || {
            // What waits here is in the way of others.
            take_short_slices();
            for parts in receiver {
                drop(parts);
            }
        })?;
        Ok(Reaper(sender))
    }

    /// Drops `parts` on the reaper's thread.
    pub(crate) fn reap(&self, parts: Box<Parts>) {
        // Without its thread the parts come back in the error and are dropped here.
        drop(self.0.send(parts));
    }
}
