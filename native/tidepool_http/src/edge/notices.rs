//! How many refused requests the backend is told of: a client that tries tokens must not fill its log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals that are told in each [`WINDOW`].
const TOLD: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// How many refusals were told of late, and how many were not.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Notices {
    /// Whether one more may be told: how many were left out before it.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            window.began = Some(now);
            window.told = 0;
        }
        if window.told >= TOLD {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_those_that_are_told_are_counted_and_the_count_goes_with_the_next() {
        let notices = Notices::default();
        let now = Instant::now();
        for _ in 0..TOLD {
            assert_eq!(notices.take(now), Some(0));
        }
        assert_eq!(notices.take(now), None);
        assert_eq!(notices.take(now + WINDOW / 2), None);
        assert_eq!(notices.take(now + WINDOW), Some(2));
        assert_eq!(notices.take(now + WINDOW), Some(0));
    }
}
