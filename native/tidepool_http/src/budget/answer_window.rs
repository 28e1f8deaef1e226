//! The answer window: how many bytes of answers an HTTP/2 connection may have asked for and not taken. It is checked before a
//! guest runs.
//!
//! A client that leaves its answers behind flow-control windows of 0 would otherwise have one made for each of its streams: a
//! guest and a copy each for the server, some bytes of headers for the client. So each call takes as much of the connection's
//! window as answers of its function lately had, and waits while that is not there. Taking an answer gives that back and as
//! much on top: the window of a client that reads grows, that of one that doesn't stays as it began.

use crate::budget::shares::{Account, Accounts, CHARGED_BYTES};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The window of a new connection, in KiB.
pub(crate) const FIRST_KIB: u32 = 16 << 10;

/// The largest window, in KiB.
const MOST_KIB: u32 = 1 << 20;

/// Sizes that are kept, of one or several functions each.
const SLOTS: usize = 1 << 10;

/// No function of this slot has answered yet.
const UNKNOWN: u32 = u32::MAX;

/// A smaller answer lowers the expected size by the difference divided by this.
const FORGET: u32 = 8;

/// How large the last answers of functions were, in KiB, by a seeded hash of their names, which clients can't compute.
/// Functions with the same hash share a size: it is an estimate.
#[derive(Debug)]
pub(crate) struct AnswerSizes {
    seed: RandomState,
    slots: Box<[AtomicU32]>,
}

/// Where the size of a function's answers is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeSlot(u64);

impl Default for AnswerSizes {
    fn default() -> Self {
        Self { seed: RandomState::new(), slots: (0..SLOTS).map(|_| AtomicU32::new(UNKNOWN)).collect() }
    }
}

impl AnswerSizes {
    pub(crate) fn slot(&self, function: &str) -> SizeSlot {
        SizeSlot(self.seed.hash_one(function))
    }

    fn at(&self, slot: SizeSlot) -> Option<&AtomicU32> {
        usize::try_from(slot.0 % SLOTS as u64).ok().and_then(|index| self.slots.get(index))
    }

    /// The expected size of an answer; `None` when there was none yet.
    pub(crate) fn kib(&self, slot: SizeSlot) -> Option<u32> {
        self.at(slot).map(|slot| slot.load(Relaxed)).filter(|kib| *kib != UNKNOWN)
    }

    /// Learns from an answer. One of the expected size writes nothing.
    pub(crate) fn note(&self, slot: SizeSlot, bytes: usize) {
        let Some(slot) = self.at(slot) else { return };
        let (seen, kib) = (slot.load(Relaxed), kib(bytes));
        if seen == UNKNOWN || seen < kib {
            slot.store(kib, Relaxed);
        } else if seen > kib {
            slot.store(seen - (seen - kib).div_ceil(FORGET), Relaxed);
        }
    }
}

/// Answers that the budget does not charge count as 0.
fn kib(bytes: usize) -> u32 {
    if bytes < CHARGED_BYTES { 0 } else { u32::try_from(bytes >> 10).unwrap_or(UNKNOWN - 1) }
}

/// Slots of calls with large answers: one for each core. However many such calls come at once, others find a core after one or
/// two of them.
#[derive(Debug)]
pub(crate) struct LargeAnswerSlots(pub(crate) Semaphore);

impl LargeAnswerSlots {
    pub(crate) fn new(cores: usize) -> Self {
        Self(Semaphore::new(cores))
    }
}

/// The window of one connection.
#[derive(Debug)]
pub(crate) struct AnswerWindow {
    pub(crate) free: Arc<Semaphore>,
    /// Its size, taken or not.
    all_kib: AtomicU32,
}

impl Default for AnswerWindow {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(FIRST_KIB as usize)), all_kib: AtomicU32::new(FIRST_KIB) }
    }
}

/// What an answer has of what is shared.
#[derive(Debug)]
pub(crate) struct AnswerShare {
    /// What its call has taken of its connection's window, given back on drop.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// The namespace that it counts for, beside its client.
    pub(crate) namespace: Option<Arc<Account>>,
}

impl AnswerShare {
    /// That of an answer which counts for these, outside of any window.
    pub(crate) fn of(accounts: &Accounts) -> Self {
        Self { permit: None, namespace: accounts.namespace.clone() }
    }

    /// The client took all of the answer: the window grows.
    pub(crate) fn taken(&mut self, window: &AnswerWindow) {
        let Some(permit) = self.permit.take() else { return };
        let more = permit.num_permits();
        let grown = |all: u32| u32::try_from(more).ok()?.checked_add(all).filter(|all| *all <= MOST_KIB);
        if window.all_kib.fetch_update(Relaxed, Relaxed, grown).is_ok() {
            window.free.add_permits(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_larger_answers_at_once_and_smaller_ones_slowly() {
        let sizes = AnswerSizes::default();
        let f = sizes.slot("f");
        assert_eq!(sizes.kib(f), None);
        sizes.note(f, 8 << 20);
        assert_eq!(sizes.kib(f), Some(8 << 10));
        sizes.note(f, 0);
        assert_eq!(sizes.kib(f), Some(7 << 10));
        for _ in 0..100 {
            sizes.note(f, CHARGED_BYTES - 1);
        }
        assert_eq!(sizes.kib(f), Some(0));
        sizes.note(f, usize::MAX);
        assert!(sizes.kib(f).is_some(), "the largest is not taken for unknown");
    }

    #[tokio::test]
    async fn an_allowance_grows_by_what_is_taken_and_not_beyond_its_bound() {
        let window = AnswerWindow::default();
        let take = || Arc::clone(&window.free).try_acquire_many_owned(FIRST_KIB).ok();
        let permit = take();
        assert!(permit.is_some() && take().is_none());
        drop(AnswerShare { permit, namespace: None });
        for _ in 0..2 * MOST_KIB / FIRST_KIB {
            AnswerShare { permit: take(), namespace: None }.taken(&window);
        }
        assert_eq!(window.free.available_permits(), MOST_KIB as usize);
    }
}
