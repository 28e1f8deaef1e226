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
    /// How many were lent at the last look.
    before: usize,
}

impl HighWater {
    /// Counts a slot that was lent.
    pub(super) fn lend(&mut self) {
        self.lent = self.lent.saturating_add(1);
        self.most = self.most.max(self.lent);
    }

    /// Counts a slot that came back.
    pub(super) fn take_back(&mut self) {
        self.lent = self.lent.saturating_sub(1);
    }

    /// Whether many have come back by now, and three of four, and no more do: while they do, whoever gives back needs the
    /// allocator's locks.
    pub(super) fn look(&mut self) -> bool {
        let going = self.before.saturating_sub(self.lent);
        self.before = self.lent;
        let gone = self.most.saturating_sub(self.lent);
        let ebbed = gone >= MANY && gone >= self.lent.saturating_mul(3) && going < MANY / 4;
        if ebbed {
            self.most = self.lent;
        }
        ebbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lends so many, takes so many back, and looks.
    fn after(slots: &mut HighWater, lent: usize, back: usize) -> bool {
        (0..lent).for_each(|_| slots.lend());
        (0..back).for_each(|_| slots.take_back());
        slots.look()
    }

    #[test]
    fn memory_is_given_back_when_most_of_many_have_gone_and_no_more_go() {
        let slots = &mut HighWater::default();
        assert!(!after(slots, 100_000, 74_999));
        assert!(!after(slots, 0, 0), "a few less than three of four");
        assert!(after(slots, 0, 1), "three of four");
        assert!(!after(slots, 0, 0), "once");
        assert!(!after(slots, 0, 20_000), "others follow");
        assert!(after(slots, 0, 0));
        assert!(!after(slots, 100_000, 100_000 + 5_000) && after(slots, 0, 0), "the next time as well");
    }

    #[test]
    fn memory_of_few_stays_and_so_does_that_of_many_who_come_and_go() {
        let slots = &mut HighWater::default();
        assert!(!after(slots, MANY - 1, MANY - 1) && !after(slots, 0, 0));
        assert!(!after(slots, 100_000, 0));
        assert!((0..100).all(|_| !after(slots, 50_000, 50_000)));
    }
}
