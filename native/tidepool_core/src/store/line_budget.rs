//! The budget of console lines of a function.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token bucket: the budget of one function.
#[derive(Debug)]
pub(crate) struct LineBudget {
    lines_per_s: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
    dropped: u64,
}

impl LineBudget {
    pub(crate) fn new(lines_per_s: u32) -> Self {
        let lines_per_s = f64::from(lines_per_s);
        LineBudget {
            lines_per_s,
            bucket: Mutex::new(Bucket { tokens: lines_per_s, filled_at: Instant::now(), dropped: 0 }),
        }
    }

    /// Takes one line out of the budget: how many lines were dropped before it, or `None` when it has to be dropped, too.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = now.saturating_duration_since(bucket.filled_at).as_secs_f64() * self.lines_per_s;
        bucket.tokens = (bucket.tokens + grown).min(self.lines_per_s);
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            bucket.dropped = bucket.dropped.saturating_add(1);
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }

    /// Puts `dropped` back, plus one: the console had no room for a line that the budget allowed.
    pub(crate) fn give_back(&self, dropped: u64) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.dropped = bucket.dropped.saturating_add(dropped).saturating_add(1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_function_over_its_budget_has_its_lines_dropped_and_counted() {
        let budget = LineBudget::new(2);
        let now = Instant::now();
        assert_eq!(budget.take(now), Some(0));
        assert_eq!(budget.take(now), Some(0));
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now + Duration::from_secs(1)), Some(2));
        assert_eq!(budget.take(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn a_line_that_found_no_room_is_counted_with_those_before_it() {
        let budget = LineBudget::new(10);
        let now = Instant::now();
        assert_eq!(budget.take(now), Some(0));
        budget.give_back(4);
        assert_eq!(budget.take(now), Some(5));
    }
}
