//! Messages that are to come at a time.

use std::time::Instant;

use super::message::Data;

/// Most timers of one process.
const MAX_TIMERS: usize = 100_000;

/// The messages that a process gets at a time, by that time and the order in which they were sent.
#[derive(Default)]
pub(super) struct Timers {
    // Sorted by time, the next one last. Few have more than one.
    pending: Vec<Pending>,
    next: u64,
}

struct Pending {
    due: Instant,
    number: u64,
    data: Data,
}

impl Timers {
    /// Adds a message; the number by which it is cancelled. The message itself when there are too many.
    pub(super) fn add(&mut self, due: Instant, data: Data) -> Result<u64, Data> {
        if self.pending.len() >= MAX_TIMERS {
            return Err(data);
        }
        let number = self.next;
        self.next += 1;
        let place = self.pending.partition_point(|pending| pending.due > due);
        self.pending.insert(place, Pending { due, number, data });
        Ok(number)
    }

    /// Removes a message that has not come; `false` when it has, or was removed.
    pub(super) fn cancel(&mut self, number: u64) -> bool {
        let place = self.pending.iter().position(|pending| pending.number == number);
        place.map(|place| self.pending.remove(place)).is_some()
    }

    /// When the next one comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pending.last().map(|pending| pending.due)
    }

    /// The next one whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Data> {
        if self.next_due()? > now {
            return None;
        }
        self.pending.pop().map(|pending| pending.data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a failed test is one that panics")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_come_by_their_time_and_those_of_one_time_as_they_were_sent() {
        let (start, mut timers) = (Instant::now(), Timers::default());
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, byte) in [(20, 2), (10, 0), (20, 3), (10, 1), (30, 4)] {
            assert!(timers.add(at(ms), Data::of(0, vec![byte])).is_ok());
        }
        assert!(timers.due(at(9)).is_none());
        let first: Vec<u8> = std::iter::from_fn(|| timers.due(at(10))).map(|data| data.bytes[0]).collect();
        assert_eq!(first, [0, 1]);
        assert!(!timers.cancel(1), "it has come");
        assert!(timers.cancel(2));
        assert!(!timers.cancel(2), "it was cancelled");
        assert_eq!(timers.next_due(), Some(at(20)));
        let rest: Vec<u8> = std::iter::from_fn(|| timers.due(at(99))).map(|data| data.bytes[0]).collect();
        assert_eq!(rest, [2, 4]);
        assert!(timers.is_empty());
    }
}
