//! Run slots: which of the guests that go on for long may compute.
//!
//! A guest that has used up its first slice needs a run slot to go on. There are as many as there are cores; a guest has one
//! for some short slices in a row, while the others wait in line. So a process that is woken finds a
//! core within a slice or two, however many guests compute. Left to the run queue of the driver's scheduler, it would wait
//! behind each of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// A guest has a slot for so many slices: about 1 ms.
const SLICES_PER_SLOT: u32 = 20;

/// The run slots of a runtime. Whoever comes first is first.
#[derive(Debug, Clone)]
pub(crate) struct RunSlots {
    free: Arc<Semaphore>,
    at_a_time: usize,
}

impl RunSlots {
    pub(crate) fn new(at_a_time: usize) -> Self {
        RunSlots { free: Arc::new(Semaphore::new(at_a_time)), at_a_time }
    }

    /// Does anybody have one?
    pub(crate) fn are_taken(&self) -> bool {
        self.free.available_permits() < self.at_a_time
    }
}

type InLine = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

/// What a guest has of them.
#[derive(Default)]
pub(crate) enum RunSlot {
    #[default]
    None,
    InLine(Pin<Box<InLine>>),
    Taken {
        _permit: OwnedSemaphorePermit,
        slices: u32,
    },
}

impl RunSlot {
    /// Takes a slot, or a place in the line for one: then `waker` is woken when its turn has come.
    pub(crate) fn take(&mut self, slots: &RunSlots, waker: impl FnOnce() -> Waker) -> Poll<()> {
        match self {
            RunSlot::Taken { .. } => return Poll::Ready(()),
            RunSlot::InLine(_) => {}
            RunSlot::None => {
                // Never overtakes: while somebody waits, none is free.
                if let Ok(permit) = Arc::clone(&slots.free).try_acquire_owned() {
                    *self = RunSlot::Taken { _permit: permit, slices: 0 };
                    return Poll::Ready(());
                }
                *self = RunSlot::InLine(Box::pin(Arc::clone(&slots.free).acquire_owned()));
            }
        }
        let RunSlot::InLine(in_line) = self else { return Poll::Ready(()) };
        let Poll::Ready(permit) = in_line.as_mut().poll(&mut Context::from_waker(&waker())) else {
            return Poll::Pending;
        };
        // Nobody closes the semaphore; if somebody did, everyone might compute.
        *self = permit.map_or(RunSlot::None, |permit| RunSlot::Taken { _permit: permit, slices: 0 });
        Poll::Ready(())
    }

    /// One slice of the slot is over; after the last one it is given back, and those in line come first.
    pub(crate) fn spend(&mut self) {
        if let RunSlot::Taken { slices, .. } = self {
            *slices += 1;
            if *slices >= SLICES_PER_SLOT {
                *self = RunSlot::None;
            }
        }
    }
}
