//! What the entries at the end of a log take of its file, as far as that was looked at or they were written since: some hundred MiB of rows
//! need not be looked at each time that the log has grown.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What entries take together of which it is known together alone: the last one of them may take more.
const PIECE_BYTES: u64 = 1 << 20;

/// Entries one after the other, up to the last one of the log.
#[derive(Default)]
pub(super) struct Lengths(Mutex<VecDeque<Piece>>);

/// Some of them: their first one, how many they are, and what they take.
struct Piece {
    first: u64,
    entries: u64,
    taken: u64,
}

/// A beginning of a look at the last entries: how many more it may be, what those that it has passed over take, and the first of them.
pub(super) type Begun = (u64, u64, Option<u64>);

impl Lengths {
    /// These were written, each of which takes so much.
    pub(super) fn write(&self, written: impl Iterator<Item = (u64, u64)>) {
        let mut pieces = self.pieces();
        for (number, taken) in written {
            // Some of those before have gone, and what the others of their piece take is not known.
            if pieces.back().is_some_and(|last| last.end() != number) {
                pieces.clear();
            }
            match pieces.back_mut().filter(|last| last.taken < PIECE_BYTES) {
                Some(last) => last.add(taken),
                None => pieces.push_back(Piece { first: number, entries: 1, taken }),
            }
        }
    }

    /// Those before this one are purged.
    pub(super) fn purge(&self, before: u64) {
        let mut pieces = self.pieces();
        while pieces.front().is_some_and(|first| first.end() <= before) {
            pieces.pop_front();
        }
    }

    /// These were found at the end of the file, or before others that were: the last one first.
    pub(super) fn found(&self, found: &[(u64, u64)]) {
        let mut pieces = self.pieces();
        for (number, taken) in found {
            match pieces.front_mut() {
                Some(first) if first.first != number.saturating_add(1) => {}
                Some(first) if first.taken < PIECE_BYTES => {
                    first.first = *number;
                    first.add(*taken);
                }
                _none_or_full => pieces.push_front(Piece { first: *number, entries: 1, taken: *taken }),
            }
        }
    }

    /// Passes over the last entries, as far as they are known to be so many, and to take so much, at most.
    pub(super) fn passed(&self, entries: u64, bytes: u64) -> Begun {
        let (mut left, mut sum, mut before) = (entries, 0_u64, None);
        for piece in self.pieces().iter().rev() {
            let with = sum.saturating_add(piece.taken);
            if with > bytes || piece.entries > left {
                break;
            }
            (left, sum, before) = (left.saturating_sub(piece.entries), with, Some(piece.first));
        }
        (left, sum, before)
    }

    fn pieces(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    /// The number after its last one.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.entries)
    }

    fn add(&mut self, taken: u64) {
        self.entries = self.entries.saturating_add(1);
        self.taken = self.taken.saturating_add(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: u64 = PIECE_BYTES / 2;

    fn each(numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = (u64, u64)> {
        numbers.map(|number| (number, HALF))
    }

    #[test]
    fn what_was_written_or_found_is_passed_over_in_pieces_that_fit() {
        let lengths = Lengths::default();
        assert_eq!(lengths.passed(9, u64::MAX), (9, 0, None));
        lengths.write(each(10..15));
        // Two, two, and one.
        assert_eq!(lengths.passed(9, u64::MAX), (4, 5 * HALF, Some(10)));
        assert_eq!(lengths.passed(9, 4 * HALF), (6, 3 * HALF, Some(12)));
        assert_eq!(lengths.passed(2, u64::MAX), (1, HALF, Some(14)));
        assert_eq!(lengths.passed(9, HALF - 1), (9, 0, None));
        // What is found does not follow, or does.
        lengths.found(&[(8, HALF), (7, HALF)]);
        assert_eq!(lengths.passed(9, u64::MAX), (4, 5 * HALF, Some(10)));
        lengths.found(&each((5..14).rev()).collect::<Vec<_>>());
        assert_eq!(lengths.passed(99, u64::MAX), (89, 10 * HALF, Some(5)));
        lengths.purge(7);
        assert_eq!(lengths.passed(99, u64::MAX), (90, 9 * HALF, Some(6)));
    }

    #[test]
    fn nothing_is_known_of_those_before_an_entry_that_takes_the_place_of_another() {
        let lengths = Lengths::default();
        lengths.found(&each((0..9).rev()).collect::<Vec<_>>());
        lengths.write(each(9..12));
        assert_eq!(lengths.passed(99, u64::MAX), (87, 12 * HALF, Some(0)));
        lengths.write(each(7..8));
        assert_eq!(lengths.passed(99, u64::MAX), (98, HALF, Some(7)));
        lengths.write(each(20..21));
        assert_eq!(lengths.passed(99, u64::MAX), (98, HALF, Some(20)));
    }
}
