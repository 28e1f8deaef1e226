//! Whether a voter has had what the others have, since its folder was opened: until then a majority without it is one less that has all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a voter that hears of no leader is taken to lack something. Then it is not waited for any more: the others may not be there,
/// or wait for this one, and what needs no records is to be served.
const UNLED: Duration = Duration::from_secs(60);

/// What is known of that.
#[derive(Debug)]
pub(crate) struct Lag {
    opened: Instant,
    /// What was committed when the leader told of it last; 0 until it has.
    committed: AtomicU64,
    is_over: AtomicBool,
}

impl Lag {
    pub(crate) fn new() -> Self {
        Self { opened: Instant::now(), committed: AtomicU64::default(), is_over: AtomicBool::default() }
    }

    /// The leader tells what is committed. What it told before is to be applied here by now: at each moment it may be more.
    pub(crate) fn heard(&self, committed: u64, has_applied: impl FnOnce(u64) -> bool) {
        let before = self.committed.swap(committed, Ordering::AcqRel);
        if before > 0 && has_applied(before) {
            self.end();
        }
    }

    /// It has all.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Has it had all? If not, it is waited for while there is a leader, or may be one.
    pub(crate) fn is_over(&self, is_led: bool) -> bool {
        self.is_over_at(Instant::now(), is_led)
    }

    fn is_over_at(&self, now: Instant, is_led: bool) -> bool {
        self.is_over.load(Ordering::Acquire) || (!is_led && now.duration_since(self.opened) > UNLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_has_what_the_others_have_once_it_has_applied_what_it_was_told_before_to_be_committed() {
        let lag = Lag::new();
        lag.heard(9, |_told| true);
        assert!(!lag.is_over(true), "it was told of nothing before");
        lag.heard(12, |told| told <= 8);
        assert!(!lag.is_over(true) && !lag.is_over(false));
        lag.heard(15, |told| told <= 12);
        assert!(lag.is_over(true));
        lag.heard(99, |_told| false);
        assert!(lag.is_over(true) && lag.is_over(false), "from then on it lacks no more than any other");
    }

    #[test]
    fn a_voter_without_a_leader_is_not_waited_for_without_an_end() {
        let lag = Lag::new();
        let end = lag.opened + UNLED;
        assert!(!lag.is_over_at(end, false));
        let late = end + Duration::from_millis(1);
        assert!(lag.is_over_at(late, false));
        // When there is one it is known what it lacks.
        assert!(!lag.is_over_at(late, true));
    }
}
