//! Tells when enough dense instances have gone that the memory beside their slots is worth giving back.
//!
//! Beside its slots an instance takes some KiB of the allocator's. glibc keeps freed memory for later requests, and of
//! 100,000 instances that is hundreds of MiB.

/// As many have to go before it is worth the while: some 30 MiB.
const MANY: usize = 4_096;

/// The most slots that were lent at once, since memory was last given back.
#[derive(Debug, Default)]
pub(super) struct HighWater {
    lent: usize,
    most: usize,
}

impl HighWater {
    /// Counts a slot that was lent.
    pub(super) fn lend(&mut self) {
        self.lent = self.lent.saturating_add(1);
        self.most = self.most.max(self.lent);
    }

    /// Counts a slot that came back, and says whether by now many have, and three of four.
    pub(super) fn take_back(&mut self) -> bool {
        self.lent = self.lent.saturating_sub(1);
        let gone = self.most.saturating_sub(self.lent);
        let ebbed = gone >= MANY && gone >= self.lent.saturating_mul(3);
        if ebbed {
            self.most = self.lent;
        }
        ebbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often memory is given back while so many are lent, and so many of them come back.
    fn trims(slots: &mut HighWater, lent: usize, back: usize) -> usize {
        (0..lent).for_each(|_| slots.lend());
        (0..back).filter(|_| slots.take_back()).count()
    }

    #[test]
    fn memory_is_given_back_when_most_of_many_have_gone_and_again_for_the_rest() {
        let slots = &mut HighWater::default();
        assert_eq!(trims(slots, 100_000, 74_999), 0);
        assert_eq!(trims(slots, 0, 1), 1, "three of four");
        assert_eq!(trims(slots, 0, 25_000), 2, "at 6,250 and 1,562");
        assert_eq!(trims(slots, 100_000, 75_000), 1, "the next time as well");
    }

    #[test]
    fn memory_of_few_stays_and_so_does_that_of_many_who_come_and_go() {
        let slots = &mut HighWater::default();
        assert_eq!(trims(slots, MANY - 1, MANY - 1), 0);
        assert_eq!(trims(slots, 100_000, 0), 0);
        assert_eq!((0..100).map(|_| trims(slots, 50_000, 50_000)).sum::<usize>(), 0);
    }
}
