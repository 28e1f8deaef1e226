//! Run slots: which of the guests that go on for long may compute.
//!
//! A guest that has used up its first slice needs a run slot to go on. There is one for each core. A guest has one for some
//! short slices in a row, while the others wait in a queue. So a process that is woken finds a core within a slice or two,
//! however many guests compute; in the run queue of the driver's scheduler it would wait behind each of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// How many slices a guest has a slot for: about 1 ms.
const SLICES_PER_SLOT: u32 = 20;

/// The run slots of a runtime, first come, first served.
#[derive(Debug, Clone)]
pub(crate) struct RunSlots {
    free: Arc<Semaphore>,
    at_a_time: usize,
}

impl RunSlots {
    pub(crate) fn new(at_a_time: usize) -> Self {
        RunSlots { free: Arc::new(Semaphore::new(at_a_time)), at_a_time }
    }

    /// Whether a guest has one.
    pub(crate) fn are_taken(&self) -> bool {
        self.free.available_permits() < self.at_a_time
    }
}

type Acquiring = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

/// A guest's run slot, or its place in the queue for one.
#[derive(Default)]
pub(crate) enum RunSlot {
    #[default]
    None,
    Queued(Pin<Box<Acquiring>>),
    Taken {
        _permit: OwnedSemaphorePermit,
        slices: u32,
    },
}

impl RunSlot {
    /// Takes a slot, or a place in the queue for one: then `waker` is woken when there is a slot for it.
    pub(crate) fn take(&mut self, slots: &RunSlots, waker: impl FnOnce() -> Waker) -> Poll<()> {
        match self {
            RunSlot::Taken { .. } => return Poll::Ready(()),
            RunSlot::Queued(_) => {}
            RunSlot::None => {
                // Never overtakes: while a guest waits, none is free.
                if let Ok(permit) = Arc::clone(&slots.free).try_acquire_owned() {
                    *self = RunSlot::Taken { _permit: permit, slices: 0 };
                    return Poll::Ready(());
                }
                *self = RunSlot::Queued(Box::pin(Arc::clone(&slots.free).acquire_owned()));
            }
        }
        let RunSlot::Queued(acquiring) = self else { return Poll::Ready(()) };
        let Poll::Ready(permit) = acquiring.as_mut().poll(&mut Context::from_waker(&waker())) else {
            return Poll::Pending;
        };
        // The semaphore is never closed; if it were, guests would run without slots.
        *self = permit.map_or(RunSlot::None, |permit| RunSlot::Taken { _permit: permit, slices: 0 });
        Poll::Ready(())
    }

    /// So many slices of the slot are over; after the last one the slot goes to the next guest in the queue.
    pub(crate) fn spend(&mut self, over: u32) {
        if let RunSlot::Taken { slices, .. } = self {
            *slices = slices.saturating_add(over);
            if *slices >= SLICES_PER_SLOT {
                *self = RunSlot::None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(slots: &RunSlots) -> RunSlot {
        let mut slot = RunSlot::None;
        assert!(slot.take(slots, || Waker::noop().clone()).is_ready());
        slot
    }

    #[test]
    fn a_slot_goes_to_the_next_guest_after_its_slices_or_one_that_was_as_long_as_all_of_them() {
        for over in [vec![1; 20], vec![20], vec![19, 1], vec![1, 30], vec![u32::MAX], vec![7, 7, 7]] {
            let slots = RunSlots::new(1);
            let (mut slot, mut next) = (taken(&slots), RunSlot::None);
            assert!(next.take(&slots, || Waker::noop().clone()).is_pending());
            for slices in &over {
                assert!(matches!(slot, RunSlot::Taken { .. }), "{over:?}");
                slot.spend(*slices);
            }
            assert!(matches!(slot, RunSlot::None), "{over:?}");
            assert!(next.take(&slots, || Waker::noop().clone()).is_ready(), "{over:?}");
        }
    }

    #[test]
    fn a_slot_that_is_not_spent_stays_its_guests() {
        let slots = RunSlots::new(1);
        let mut slot = taken(&slots);
        slot.spend(19);
        assert!(matches!(slot, RunSlot::Taken { .. }) && slots.are_taken());
    }
}
