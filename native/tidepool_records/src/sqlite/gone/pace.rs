//! How often something is done that may take long, that nobody waits for, and for which others wait meanwhile.

use std::time::{Duration, Instant};

/// How many times as long as it took it is left alone, so that others wait for it a tenth of the time.
const REST: u32 = 9;
/// How long that is at most: a disk that stood still once is not to have it left undone.
const LONGEST: Duration = Duration::from_secs(60);

/// When it is done next.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
}

impl Pace {
    /// It is due at once.
    pub(crate) fn new() -> Self {
        Pace { next: Instant::now() }
    }

    /// When it is due.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    pub(crate) fn is_due(&self) -> bool {
        self.next <= Instant::now()
    }

    /// It was done, and took so long.
    pub(crate) fn took(&mut self, took: Duration) {
        self.next = Instant::now() + rest(took);
    }
}

fn rest(took: Duration) -> Duration {
    took.saturating_mul(REST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_left_alone_for_nine_times_as_long_and_a_minute_at_most() {
        assert_eq!(rest(Duration::from_millis(150)), Duration::from_millis(1_350));
        assert_eq!(rest(Duration::from_secs(3_600)), LONGEST);
        let mut pace = Pace::new();
        assert!(pace.is_due());
        pace.took(Duration::from_secs(3_600));
        assert!(!pace.is_due());
        pace.took(Duration::ZERO);
        assert!(pace.is_due());
    }
}
