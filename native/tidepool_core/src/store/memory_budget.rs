//! The budget of linear memory that live instances share.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::os::per_thread::Sharded;

/// What a thread takes from the common amount at once, in bytes.
const CREDIT_BYTES: u64 = 16 << 20;

/// An amount of memory that instances reserve from and release to.
///
/// Most reservations are met from the calling thread's credit, so that threads don't share one counter.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    common: AtomicU64,
    at_hand: Sharded<AtomicU64>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        MemoryBudget { limit, common: AtomicU64::new(limit), at_hand: Sharded::default() }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `bytes`, or nothing when fewer are left.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let mine = self.at_hand.mine();
        if take(mine, bytes) {
            return true;
        }
        if take(&self.common, bytes.saturating_add(CREDIT_BYTES)) {
            mine.fetch_add(CREDIT_BYTES, Ordering::Relaxed);
            return true;
        }
        // Unused credit of other threads comes back first.
        let idle: u64 = self.at_hand.iter().map(|credit| credit.swap(0, Ordering::Relaxed)).sum();
        self.common.fetch_add(idle, Ordering::Relaxed);
        take(&self.common, bytes)
    }

    /// Gives reserved `bytes` back.
    pub(crate) fn release(&self, bytes: u64) {
        let mine = self.at_hand.mine();
        if mine.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > 2 * CREDIT_BYTES {
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
        let at_hand: u64 = self.at_hand.iter().map(|credit| credit.load(Ordering::Relaxed)).sum();
        self.limit.saturating_sub(self.common.load(Ordering::Relaxed).saturating_add(at_hand))
    }
}

fn take(from: &AtomicU64, bytes: u64) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
