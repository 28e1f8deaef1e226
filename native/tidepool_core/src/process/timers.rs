//! Messages that are to come at a time.

use std::time::Instant;

/// Most timers of one process.
const MAX_TIMERS: usize = 100_000;

/// What is to come at a time, by that time and the order in which it was sent.
pub(super) struct Timers<T> {
    // Sorted by time, the next one last. Few have more than one.
    pending: Vec<DueMessage<T>>,
    next: u64,
    bytes: usize,
}

struct DueMessage<T> {
    due: Instant,
    number: u64,
    bytes: usize,
    message: T,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { pending: Vec::new(), next: 0, bytes: 0 }
    }
}

impl<T> Timers<T> {
    /// Adds a message that takes so many bytes; the number by which it is cancelled. `None` when there are too many.
    pub(super) fn add(&mut self, due: Instant, message: T, bytes: usize) -> Option<u64> {
        if self.pending.len() >= MAX_TIMERS {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let place = self.pending.partition_point(|pending| pending.due > due);
        self.pending.insert(place, DueMessage { due, number, bytes, message });
        self.bytes += bytes;
        Some(number)
    }

    /// Removes a message that has not come; `false` when it has, or was removed.
    pub(super) fn cancel(&mut self, number: u64) -> bool {
        let place = self.pending.iter().position(|pending| pending.number == number);
        let cancelled = place.map(|place| self.pending.remove(place));
        self.bytes -= cancelled.as_ref().map_or(0, |pending| pending.bytes);
        cancelled.is_some()
    }

    /// What all messages take that have not come.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The numbers of those messages.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|pending| pending.number)
    }

    /// When the next one comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pending.last().map(|pending| pending.due)
    }

    /// The next one whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        let pending = self.pending.pop()?;
        self.bytes -= pending.bytes;
        Some(pending.message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_come_by_their_time_and_those_of_one_time_as_they_were_sent() {
        let (start, mut timers) = (Instant::now(), Timers::default());
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, byte) in [(20, 2), (10, 0), (20, 3), (10, 1), (30, 4)] {
            assert!(timers.add(at(ms), byte, 100).is_some());
        }
        assert!(timers.due(at(9)).is_none());
        let first: Vec<u8> = std::iter::from_fn(|| timers.due(at(10))).collect();
        assert_eq!(first, [0, 1]);
        assert!(!timers.cancel(1), "it has come");
        assert!(timers.cancel(2));
        assert!(!timers.cancel(2), "it was cancelled");
        assert_eq!((timers.next_due(), timers.bytes()), (Some(at(20)), 200));
        let rest: Vec<u8> = std::iter::from_fn(|| timers.due(at(99))).collect();
        assert_eq!(rest, [2, 4]);
        assert!(timers.is_empty());
        assert_eq!(timers.bytes(), 0);
    }
}
