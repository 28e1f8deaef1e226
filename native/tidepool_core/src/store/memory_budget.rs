//! The budget of linear memory that live instances share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::os::per_thread::Sharded;

/// What a thread takes from the common amount at once, in bytes, where that is a small part of it.
const CREDIT_BYTES: i64 = 16 << 20;
/// How small a part.
const CREDIT_PART: i64 = 64;

/// An amount of memory that instances reserve from and release to.
///
/// Most reservations are met from the calling thread's credit, so that threads don't share one counter.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    credit: i64,
    /// Less than nothing, where more was taken than there is.
    common: AtomicI64,
    at_hand: Sharded<AtomicI64>,
    /// Held by who gathers what threads have at hand: another would find nothing meanwhile.
    gathering: Mutex<()>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        let common = signed(limit);
        MemoryBudget {
            limit,
            credit: (common / CREDIT_PART).min(CREDIT_BYTES),
            common: AtomicI64::new(common),
            at_hand: Sharded::default(),
            gathering: Mutex::default(),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `bytes`, or nothing when fewer are left.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let bytes = signed(bytes);
        let mine = self.at_hand.mine();
        if take(mine, bytes) {
            return true;
        }
        if take(&self.common, bytes.saturating_add(self.credit)) {
            mine.fetch_add(self.credit, Ordering::Relaxed);
            return true;
        }
        // Unused credit of other threads comes back first.
        let _gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        self.gather();
        take(&self.common, bytes)
    }

    /// Takes `bytes` that are there already, whether as many are left or not: nothing is reserved until what is missing came back.
    pub(crate) fn force(&self, bytes: u64) {
        if !self.reserve(bytes) {
            self.common.fetch_sub(signed(bytes), Ordering::Relaxed);
        }
    }

    fn gather(&self) {
        let idle: i64 = self.at_hand.iter().map(|credit| credit.swap(0, Ordering::Relaxed)).sum();
        self.common.fetch_add(idle, Ordering::Relaxed);
    }

    /// Gives taken `bytes` back.
    pub(crate) fn release(&self, bytes: u64) {
        let bytes = signed(bytes);
        if self.common.load(Ordering::Relaxed) < 0 {
            self.common.fetch_add(bytes, Ordering::Relaxed);
            return;
        }
        let mine = self.at_hand.mine();
        if mine.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > 2 * self.credit {
            self.common.fetch_add(mine.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether `bytes` are left at this moment.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        let enough = self.reserve(bytes);
        if enough {
            self.release(bytes);
        }
        enough
    }

    /// What is reserved, roughly: other threads go on while this adds up.
    pub(crate) fn used(&self) -> u64 {
        let at_hand: i64 = self.at_hand.iter().map(|credit| credit.load(Ordering::Relaxed)).sum();
        let left = self.common.load(Ordering::Relaxed).saturating_add(at_hand);
        u64::try_from(signed(self.limit).saturating_sub(left)).unwrap_or(0)
    }
}

/// No machine has more memory than that.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
}

fn take(from: &AtomicI64, bytes: i64) -> bool {
    let enough = |left: i64| left.checked_sub(bytes).filter(|left| *left >= 0);
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDIT_BYTES: u64 = super::CREDIT_BYTES as u64;

    #[test]
    fn no_more_is_reserved_than_there_is_and_all_of_it_can_be() {
        let budget = MemoryBudget::new(3 * CREDIT_BYTES + 5);
        assert!(budget.reserve(CREDIT_BYTES));
        assert!(budget.reserve(2 * CREDIT_BYTES));
        assert!(budget.reserve(5));
        assert!(!budget.reserve(1));
        assert_eq!(budget.used(), 3 * CREDIT_BYTES + 5);
        budget.release(5);
        assert!(!budget.reserve(6));
        assert!(budget.reserve(5));
    }

    #[test]
    fn what_one_thread_released_another_can_reserve() {
        let budget = MemoryBudget::new(64);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let turn = scope.spawn(|| {
                    assert!(budget.reserve(64));
                    budget.release(64);
                });
                assert!(turn.join().is_ok());
            }
        });
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn threads_that_reserve_at_once_never_have_more_than_there_is() {
        let budget = MemoryBudget::new(4 * CREDIT_BYTES);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if budget.reserve(CREDIT_BYTES + 1) {
                            assert!(budget.used() <= budget.limit());
                            budget.release(CREDIT_BYTES + 1);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(4 * CREDIT_BYTES));
        assert!(!budget.reserve(1), "more came back than there was");
    }

    #[test]
    fn what_is_given_back_is_given_back_once() {
        let budget = MemoryBudget::new(4 * CREDIT_BYTES);
        // Credit goes back to the common amount in between.
        for _ in 0..10 {
            assert!(budget.reserve(CREDIT_BYTES + 1));
            budget.release(CREDIT_BYTES + 1);
        }
        assert!(budget.reserve(4 * CREDIT_BYTES));
        assert!(!budget.reserve(1));
    }

    #[test]
    fn what_is_taken_beyond_all_that_there_is_comes_back_before_anything_is_reserved() {
        let budget = MemoryBudget::new(100);
        assert!(budget.reserve(90));
        budget.force(50);
        assert_eq!(budget.used(), 140);
        budget.release(40);
        assert!(!budget.reserve(1));
        budget.release(50);
        assert!(budget.reserve(50) && !budget.reserve(1));
        assert_eq!(budget.used(), 100);
    }

    #[test]
    fn threads_that_have_less_together_than_there_is_are_never_refused() {
        let budget = MemoryBudget::new(5_000_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        assert!(budget.reserve(1_000_000));
                        budget.release(1_000_000);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
