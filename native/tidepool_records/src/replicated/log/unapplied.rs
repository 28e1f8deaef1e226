//! What a voter has in its log, and not in its state yet: as soon as it is committed, Raft has it in memory until it is applied.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The numbers and bytes of such entries that were written since the log was opened, in order.
#[derive(Default)]
pub(super) struct Unapplied(Mutex<VecDeque<(u64, usize)>>);

impl Unapplied {
    /// These were written; each takes the place of what a leader of before has left, from its number on.
    pub(super) fn write(&self, entries: impl Iterator<Item = (u64, usize)>) {
        let mut waiting = self.waiting();
        for (number, bytes) in entries {
            while waiting.back().is_some_and(|(last, _bytes)| *last >= number) {
                waiting.pop_back();
            }
            waiting.push_back((number, bytes));
        }
    }

    /// What is behind this number is gone from the log, and so is that.
    pub(super) fn truncate(&self, from: u64) {
        self.waiting().retain(|(number, _bytes)| *number < from);
    }

    /// What goes up to this number was applied.
    pub(super) fn apply(&self, up_to: u64) {
        let mut waiting = self.waiting();
        while waiting.front().is_some_and(|(first, _bytes)| *first <= up_to) {
            waiting.pop_front();
        }
    }

    /// Bytes of those that go up to this number.
    pub(super) fn bytes(&self, up_to: u64) -> usize {
        let waiting = self.waiting();
        waiting.iter().take_while(|(number, _bytes)| *number <= up_to).map(|(_number, bytes)| bytes).sum()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, usize)>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_entries_that_are_committed_and_neither_applied_nor_gone() {
        let unapplied = Unapplied::default();
        unapplied.write((1..=4).map(|number| (number, 10)));
        assert_eq!([0, 1, 4, 9].map(|up_to| unapplied.bytes(up_to)), [0, 10, 40, 40]);
        unapplied.apply(1);
        assert_eq!([1, 4].map(|up_to| unapplied.bytes(up_to)), [0, 30]);
        unapplied.write([(3, 5)].into_iter());
        assert_eq!([2, 4].map(|up_to| unapplied.bytes(up_to)), [10, 15]);
        unapplied.truncate(3);
        assert_eq!(unapplied.bytes(4), 10);
        unapplied.apply(4);
        assert_eq!(unapplied.bytes(4), 0);
    }
}
