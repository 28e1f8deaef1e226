//! Messages that are to come at a time.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Instant;

use foldhash::fast::RandomState;

/// Most timers of one process.
const MAX_TIMERS: usize = 100_000;
/// What each takes beside its message: its places by its time and by its number, in tables that are between half full and full.
pub(super) const TIMER_BYTES: usize = 96;
/// Room for so many is kept when there are none.
const KEPT: usize = 64;

/// What is to come at a time, by that time and the order in which it was sent.
pub(super) struct Timers<T> {
    pending: BTreeMap<(Instant, u64), DueMessage<T>>,
    /// When each of those comes, by its number.
    dues: HashMap<u64, Instant, RandomState>,
    next: u64,
    bytes: usize,
}

struct DueMessage<T> {
    bytes: usize,
    message: T,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { pending: BTreeMap::new(), dues: HashMap::default(), next: 0, bytes: 0 }
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
        self.pending.insert((due, number), DueMessage { bytes, message });
        self.dues.insert(number, due);
        self.bytes += bytes;
        Some(number)
    }

    /// The number of the next message, and all that have not come: the numbers of these, when they do, and what they are.
    pub(super) fn all(&self) -> (u64, impl Iterator<Item = (u64, Instant, &T)>) {
        (self.next, self.pending.iter().map(|((due, number), message)| (*number, *due, &message.message)))
    }

    /// Adds a message that had this number where it was before; `false` when there can't be that.
    pub(super) fn restore(&mut self, (number, due): (u64, Instant), message: T, bytes: usize) -> bool {
        let may_be = self.pending.len() < MAX_TIMERS && number < u64::MAX && !self.dues.contains_key(&number);
        if may_be {
            self.next = self.next.max(number + 1);
            self.pending.insert((due, number), DueMessage { bytes, message });
            self.dues.insert(number, due);
            self.bytes += bytes;
        }
        may_be
    }

    /// Gives no number below this one.
    pub(super) fn begin_at(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Removes a message that has not come; `false` when it has, or was removed.
    pub(super) fn cancel(&mut self, number: u64) -> bool {
        let due = self.dues.get(&number).copied();
        due.and_then(|due| self.remove((due, number))).is_some()
    }

    fn remove(&mut self, key: (Instant, u64)) -> Option<T> {
        let DueMessage { bytes, message } = self.pending.remove(&key)?;
        self.dues.remove(&key.1);
        self.bytes -= bytes;
        // One that had many once may have few for the rest of its life.
        if self.pending.is_empty() && self.dues.capacity() > KEPT {
            self.dues = HashMap::default();
        }
        Some(message)
    }

    /// What all messages take that have not come.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is the message with this number yet to come?
    pub(super) fn has(&self, number: u64) -> bool {
        self.dues.contains_key(&number)
    }

    /// When the next one comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|((due, _number), _message)| *due)
    }

    /// The next one whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<T> {
        let (key, _message) = self.pending.first_key_value()?;
        if key.0 > now { None } else { self.remove(*key) }
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
        assert!(timers.dues.is_empty());
    }
}
