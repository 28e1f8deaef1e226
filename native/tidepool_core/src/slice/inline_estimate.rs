//! The inline estimate: how long calls of a function hold a thread that serves connections, as a moving average over their
//! first slices.
//!
//! Such a thread may drive a call's first slice itself, which saves the call a process and two messages. That is a gain for
//! short calls only: a long one keeps every other connection of the thread waiting, for up to a tick each time. So each first
//! slice driven there is charged to its function, and calls of a function that cost more than [`INLINE_MAX`] on average go to
//! processes. Each of those takes a little off the average, so that the function is tried again: one that never changes costs
//! the thread about one slice in a hundred calls.
//!
//! What counts is what a call computes, for a busy machine takes the core away from short ones, too, and a process would not
//! have it sooner. Wall time is read at no cost, and says as much of calls that are short by far; of others CPU time is asked
//! ([`InlineEstimate::is_close`]).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The longest average of a function whose calls may be driven inline.
pub(crate) const INLINE_MAX: Duration = Duration::from_micros(64);
/// The most that a slice is charged: the average slice of an endless loop, which begins between two ticks.
const LONGEST: Duration = Duration::from_micros(500);
/// A call moves the average by this part of the difference.
const WEIGHT: u32 = 16;
/// A call that was not tried moves the average towards zero by this part of it.
const FORGET: u32 = 256;

/// The average of one function version.
#[derive(Debug, Default)]
pub(crate) struct InlineEstimate {
    // Written without regard for other writers: a charge that gets lost now and then does no harm.
    average_ns: AtomicU32,
}

impl InlineEstimate {
    /// Whether the next call may be driven inline.
    pub(crate) fn suits_inline(&self) -> bool {
        let average = self.average_ns.load(Relaxed);
        if average <= nanoseconds(INLINE_MAX) {
            return true;
        }
        self.average_ns.store(average - (average / FORGET).max(1), Relaxed);
        false
    }

    /// Whether the next call is to be charged by its CPU time: so much of it, or of what was taken for it, brings the function
    /// near the longest average.
    pub(crate) fn is_close(&self) -> bool {
        self.average_ns.load(Relaxed) >= nanoseconds(INLINE_MAX) / 2
    }

    /// Charges a first slice that was driven inline.
    pub(crate) fn charge(&self, took: Duration) {
        // A longer one was interrupted: the system gave the core to other threads.
        let charge = nanoseconds(took.min(LONGEST));
        let average = self.average_ns.load(Relaxed);
        let step = average.abs_diff(charge) / WEIGHT;
        // Small changes are not written, so that threads don't share the cache line.
        if step >= nanoseconds(INLINE_MAX) / 64 {
            self.average_ns.store(if charge > average { average + step } else { average - step }, Relaxed);
        }
    }
}

/// Four seconds fit, many times the length of a slice.
fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::epoch::SLICE;

    const SHORT: Duration = Duration::from_micros(5);

    #[test]
    fn short_calls_on_a_busy_machine_suit_but_for_moments() {
        // Each eighth is interrupted, which wall time does not tell from a long call.
        let (estimate, computed) = (InlineEstimate::default(), Duration::from_micros(20));
        let mut tried = 0_usize;
        for _ in 0..10_000 {
            if estimate.suits_inline() {
                let interrupted = tried.is_multiple_of(8) && !estimate.is_close();
                estimate.charge(if interrupted { LONGEST } else { computed });
                tried += 1;
            }
        }
        assert!(tried > 9_500, "{tried}");
    }

    /// How many of `calls` are tried, each charged with what `took` says of it.
    fn tried(estimate: &InlineEstimate, calls: usize, took: impl Fn(usize) -> Duration) -> usize {
        let mut tried = 0;
        for _ in 0..calls {
            if estimate.suits_inline() {
                estimate.charge(took(tried));
                tried += 1;
            }
        }
        tried
    }

    #[test]
    fn short_calls_always_suit() {
        assert_eq!(tried(&InlineEstimate::default(), 10_000, |_| SHORT), 10_000);
    }

    #[test]
    fn calls_that_do_not_end_are_tried_twice_in_a_hundred_at_most() {
        let tried = tried(&InlineEstimate::default(), 10_000, |_| LONGEST);
        assert!((1..=200).contains(&tried), "{tried}");
    }

    #[test]
    fn long_calls_among_short_ones_hold_the_thread_no_longer_than_short_ones_on_average() {
        for every in [2, 4, 8] {
            let took = |call: usize| if call.is_multiple_of(every) { LONGEST } else { SHORT };
            let tried = tried(&InlineEstimate::default(), 100_000, took);
            let held: Duration = (0..tried).map(took).sum();
            assert!(held < INLINE_MAX * 100_000, "{tried}");
        }
    }

    #[test]
    fn one_interruption_does_not_count() {
        let estimate = InlineEstimate::default();
        assert_eq!(tried(&estimate, 1_000, |_| SHORT), 1_000);
        estimate.charge(SLICE);
        assert!(estimate.suits_inline());
    }

    #[test]
    fn a_function_that_has_become_short_suits_inline_again() {
        let estimate = InlineEstimate::default();
        tried(&estimate, 10_000, |_| LONGEST);
        tried(&estimate, 1_000, |_| SHORT);
        assert_eq!(tried(&estimate, 1_000, |_| SHORT), 1_000);
    }
}
