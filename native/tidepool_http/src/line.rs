//! How much of answers one HTTP/2 connection may have asked for and not taken: looked at before a guest is run for it.
//!
//! A client that leaves its answers where they are, behind windows of 0, would otherwise have as many made as it has streams,
//! which costs the server a guest and a copy each and the client some bytes of headers. So each call takes as much of
//! its connection's allowance as answers of its function lately had, and waits in line while that is not there. Taking an
//! answer gives that back and as much on top: who reads soon has more than it can use, and who doesn't stays where it began.

use crate::budget::CHARGED_BYTES;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::available_parallelism;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a new connection may have asked for, in KiB.
pub(crate) const FIRST_KIB: u32 = 16 << 10;

/// What one that takes its answers may come to, in KiB.
const MOST_KIB: u32 = 1 << 20;

/// Of so many functions the sizes are told apart.
const SLOTS: usize = 1 << 10;

/// Nothing is known of the functions of a slot.
const UNKNOWN: u32 = u32::MAX;

/// What a smaller answer than those before takes off, as a part of the difference.
const FORGET: u32 = 8;

/// How large the answers of functions lately were, in KiB, by a hash of their names that nobody else can compute. Those with
/// the same count for as much as the larger: an estimate is all that is asked.
#[derive(Debug)]
pub(crate) struct Sizes {
    seed: RandomState,
    slots: Box<[AtomicU32]>,
}

/// Where the size of a function's answers is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(u64);

impl Default for Sizes {
    fn default() -> Self {
        Self { seed: RandomState::new(), slots: (0..SLOTS).map(|_| AtomicU32::new(UNKNOWN)).collect() }
    }
}

impl Sizes {
    pub(crate) fn slot(&self, function: &str) -> Slot {
        Slot(self.seed.hash_one(function))
    }

    fn at(&self, slot: Slot) -> Option<&AtomicU32> {
        usize::try_from(slot.0 % SLOTS as u64).ok().and_then(|index| self.slots.get(index))
    }

    /// What an answer counts for; `None` when there was none yet.
    pub(crate) fn kib(&self, slot: Slot) -> Option<u32> {
        self.at(slot).map(|slot| slot.load(Relaxed)).filter(|kib| *kib != UNKNOWN)
    }

    /// Learns from an answer. Small ones that come as expected are not written down again.
    pub(crate) fn note(&self, slot: Slot, bytes: usize) {
        let Some(slot) = self.at(slot) else { return };
        let (seen, kib) = (slot.load(Relaxed), kib(bytes));
        if seen == UNKNOWN || seen < kib {
            slot.store(kib, Relaxed);
        } else if seen > kib {
            slot.store(seen - (seen - kib).div_ceil(FORGET), Relaxed);
        }
    }
}

/// Answers that are not counted count for nothing here.
fn kib(bytes: usize) -> u32 {
    if bytes < CHARGED_BYTES { 0 } else { u32::try_from(bytes >> 10).unwrap_or(UNKNOWN - 1) }
}

/// The turns of calls with dear answers: as many at a time as there are cores, so that however many come at once, others find
/// a core after one or two of them.
#[derive(Debug)]
pub(crate) struct Turns(pub(crate) Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(available_parallelism().map_or(1, usize::from)))
    }
}

/// The line of one connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) free: Arc<Semaphore>,
    /// Free or not.
    all_kib: AtomicU32,
}

impl Default for Line {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(FIRST_KIB as usize)), all_kib: AtomicU32::new(FIRST_KIB) }
    }
}

/// What a call has taken of its connection's allowance, given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The answer was taken, all of it: more may come at once from now on.
    pub(crate) fn taken(&mut self, line: &Line) {
        let Some(permit) = self.permit.take() else { return };
        let more = permit.num_permits();
        let grown = |all: u32| u32::try_from(more).ok()?.checked_add(all).filter(|all| *all <= MOST_KIB);
        if line.all_kib.fetch_update(Relaxed, Relaxed, grown).is_ok() {
            line.free.add_permits(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_larger_answers_at_once_and_smaller_ones_slowly() {
        let sizes = Sizes::default();
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
        let line = Line::default();
        let take = || Arc::clone(&line.free).try_acquire_many_owned(FIRST_KIB).ok();
        let permit = take();
        assert!(permit.is_some() && take().is_none());
        drop(Place { permit });
        for _ in 0..2 * MOST_KIB / FIRST_KIB {
            Place { permit: take() }.taken(&line);
        }
        assert_eq!(line.free.available_permits(), MOST_KIB as usize);
    }
}
