//! Whether a voter has had what the others have, since its folder was opened: until then a majority without it is one less that has all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::replicated::types::DiskId;

/// How long a voter that hears of no leader is taken to lack something. Then it is not waited for any more: the others may not be there,
/// or wait for this one, and what needs no records is to be served.
const UNLED: Duration = Duration::from_secs(60);
/// How late it may apply what is committed, and have all the same what the others have.
const LATE: Duration = Duration::from_secs(1);
/// For how long an answer counts that could not be understood. Who hears of no leader asks for votes some times a second.
const STRANGE: Duration = Duration::from_secs(10);

/// What is known of that.
#[derive(Debug)]
pub(crate) struct Lag {
    opened: Instant,
    /// What it is to have applied next: what was committed when the leader told so.
    told: Mutex<Option<(u64, Instant)>>,
    is_over: AtomicBool,
    /// The voters that are of another version, and when that was heard last.
    strange: Mutex<BTreeMap<DiskId, Instant>>,
}

impl Lag {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            told: Mutex::default(),
            is_over: AtomicBool::default(),
            strange: Mutex::default(),
        }
    }

    /// The leader tells what is committed. What it told before is to be applied here soon after: at each moment it may be more, and who
    /// applies all the time may never have had all that was told last.
    pub(crate) fn heard(&self, committed: u64, has_applied: impl Fn(u64) -> bool) {
        if !self.is_over.load(Ordering::Acquire) {
            self.heard_at(Instant::now(), committed, has_applied);
        }
    }

    fn heard_at(&self, now: Instant, committed: u64, has_applied: impl Fn(u64) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match *told {
            Some((before, _then)) if !has_applied(before) => {}
            Some((_before, then)) if now.duration_since(then) <= LATE => self.end(),
            // What it lacked took long, and meanwhile there is more.
            _long_ago_or_none => *told = Some((committed, now)),
        }
    }

    /// A voter is there, and of another version: neither understands the other.
    pub(crate) fn heard_strange(&self, disk: DiskId) {
        if !self.is_over.load(Ordering::Acquire) {
            self.heard_strange_at(Instant::now(), disk);
        }
    }

    fn heard_strange_at(&self, now: Instant, disk: DiskId) {
        self.strange.lock().unwrap_or_else(PoisonError::into_inner).insert(disk, now);
    }

    /// It has all.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Has it had all? If not, it is waited for while there is a leader, or may be one that it does not understand.
    pub(crate) fn is_over(&self, is_led: bool, voters: &BTreeSet<DiskId>) -> bool {
        self.is_over_at(Instant::now(), is_led, voters)
    }

    fn is_over_at(&self, now: Instant, is_led: bool, voters: &BTreeSet<DiskId>) -> bool {
        self.is_over.load(Ordering::Acquire)
            || (!is_led && now.duration_since(self.opened) > UNLED && !self.is_strange_at(now, voters))
    }

    /// Are so many voters there that it does not understand that they write on without it?
    pub(crate) fn is_strange(&self, voters: &BTreeSet<DiskId>) -> bool {
        self.is_strange_at(Instant::now(), voters)
    }

    fn is_strange_at(&self, now: Instant, voters: &BTreeSet<DiskId>) -> bool {
        let strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |disk: &&DiskId| strange.get(*disk).is_some_and(|heard| now.duration_since(*heard) <= STRANGE);
        voters.iter().filter(lately).count() * 2 > voters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_has_what_the_others_have_once_it_has_applied_what_it_was_told_before_to_be_committed() {
        let lag = Lag::new();
        let is_over = |is_led| lag.is_over(is_led, &BTreeSet::new());
        lag.heard(9, |_told| true);
        assert!(!is_over(true), "it was told of nothing before");
        lag.heard(12, |told| told <= 8);
        assert!(!is_over(true) && !is_over(false));
        lag.heard(15, |told| told <= 12);
        assert!(is_over(true));
        lag.heard(99, |_told| false);
        assert!(is_over(true) && is_over(false), "from then on it lacks no more than any other");
    }

    #[test]
    fn a_voter_that_always_applies_a_bit_late_has_what_the_others_have_and_one_that_takes_long_has_not() {
        let (lag, began) = (Lag::new(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        let is_over = || lag.is_over(true, &BTreeSet::new());
        // What it lacks at first takes an hour. By then there is more.
        lag.heard_at(at(0), 1_000, |_told| false);
        lag.heard_at(at(3_600_000), 2_000, |told| told <= 1_000);
        assert!(!is_over());
        // From then on it is three words of the leader behind, which come twenty times a second.
        for word in 1..=3 {
            lag.heard_at(at(3_600_000 + word * 50), 2_000 + word * 10, |told| told <= 1_970 + word * 10);
            assert_eq!(is_over(), word == 3);
        }
    }

    #[test]
    fn a_voter_without_a_leader_is_not_waited_for_without_an_end() {
        let (lag, voters) = (Lag::new(), BTreeSet::from([1, 2, 3]));
        let end = lag.opened + UNLED;
        assert!(!lag.is_over_at(end, false, &voters));
        let late = end + Duration::from_millis(1);
        assert!(lag.is_over_at(late, false, &voters));
        // When there is one it is known what it lacks.
        assert!(!lag.is_over_at(late, true, &voters));
    }

    #[test]
    fn a_voter_is_waited_for_while_a_majority_is_there_that_it_does_not_understand() {
        let (lag, voters) = (Lag::new(), BTreeSet::from([1, 2, 3]));
        let late = lag.opened + 2 * UNLED;
        lag.heard_strange_at(late, 1);
        // One of another group, or of before.
        lag.heard_strange_at(late, 9);
        assert!(lag.is_over_at(late, false, &voters), "one alone leads nobody");
        lag.heard_strange_at(late, 2);
        assert!(!lag.is_over_at(late, false, &voters));
        assert!(!lag.is_over_at(late + STRANGE, false, &voters));
        let gone = late + STRANGE + Duration::from_millis(1);
        assert!(lag.is_over_at(gone, false, &voters), "they are gone, or are understood");
    }
}
