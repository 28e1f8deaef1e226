//! One phase: a rate that is steady or changes in a straight line, and the exact inverse of its integral.

use super::Step;
use crate::units::Rate;

/// One arrival, in the unit the integrals are kept in: half a thousandth of an arrival per second, times a nanosecond.
pub const UNITS: i128 = 2_000 * 1_000_000_000;

/// A stretch of time over which the rate goes from one value to another in a straight line.
///
/// With rates of at most 10⁷/s and phases of at most 24 h every product below stays under 2¹²⁷;
/// [`Phase::new`] enforces both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    from: Rate,
    to: Rate,
    length_ns: u64,
}

impl Phase {
    /// A phase from one rate to another; a length beyond 24 h is cut to that.
    #[must_use]
    pub fn new(from: Rate, to: Rate, length_ns: u64) -> Phase {
        let longest = crate::units::nanos(crate::units::MAX_PHASE);
        Phase { from, to, length_ns: length_ns.min(longest) }
    }

    /// How long it lasts.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// The arrivals in it, in [`UNITS`]; exact.
    #[must_use]
    pub fn integral(&self) -> i128 {
        i128::from(self.from.milli() + self.to.milli()) * i128::from(self.length_ns)
    }

    /// The first nanosecond of the phase at which the integral reaches `target`; the phase's length if it never does.
    #[must_use]
    pub fn reaches(&self, target: i128) -> u64 {
        if target <= 0 {
            return 0;
        }
        if target >= self.integral() {
            return self.length_ns;
        }
        if self.from == self.to {
            let twice = 2 * i128::from(self.from.milli());
            let due = (target + twice - 1) / twice;
            return u64::try_from(due).unwrap_or(self.length_ns).min(self.length_ns);
        }
        self.settle(self.guess(target), target)
    }

    /// Whether the integral up to `at_ns` is at least `target`, in integers:
    /// `2·from·t + (to−from)·t²/T ≥ target`, times `T`.
    fn has_reached(&self, at_ns: u64, target: i128) -> bool {
        let (t, length) = (i128::from(at_ns), i128::from(self.length_ns));
        let (from, to) = (i128::from(self.from.milli()), i128::from(self.to.milli()));
        2 * from * t * length + (to - from) * t * t >= target * length
    }

    /// The root of the quadratic in floating point: close, not exact.
    fn guess(&self, target: i128) -> u64 {
        let (from, to) = (self.from.milli() as f64, self.to.milli() as f64);
        let (target, length) = (target as f64, self.length_ns as f64);
        let root = (from * from + (to - from) * target / length).max(0.0).sqrt();
        ((target / (from + root)) as u64).min(self.length_ns)
    }

    /// Walks from the guess to the exact first nanosecond, in doubling strides and then by halving.
    fn settle(&self, guess: u64, target: i128) -> u64 {
        let mut stride = 1_u64;
        let (mut low, mut high);
        if self.has_reached(guess, target) {
            high = guess;
            loop {
                low = high.saturating_sub(stride);
                if low == 0 || !self.has_reached(low, target) {
                    break;
                }
                high = low;
                stride = stride.saturating_mul(2);
            }
        } else {
            low = guess;
            loop {
                high = low.saturating_add(stride).min(self.length_ns);
                if high == self.length_ns || self.has_reached(high, target) {
                    break;
                }
                low = high;
                stride = stride.saturating_mul(2);
            }
        }
        // The target is above zero, so nanosecond 0 never reaches it; the end of the phase always does.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.has_reached(middle, target) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    /// The report's lines for this phase, from its own start: one if steady, else `count` slices of equal time.
    pub(super) fn slices(self, count: u64) -> impl Iterator<Item = Step> {
        let count = if self.from == self.to { 1 } else { count.max(1) };
        let rate_at = move |k: u64| {
            let (from, to) = (self.from.as_f64(), self.to.as_f64());
            Rate::per_second(from + (to - from) * k as f64 / count as f64)
        };
        let time_at = move |k: u64| (u128::from(self.length_ns) * u128::from(k) / u128::from(count)) as u64;
        (0..count).map(move |k| Step {
            label: if self.from == self.to {
                self.from.to_string()
            } else {
                format!("{}..{}", rate_at(k), rate_at(k + 1))
            },
            from_ns: time_at(k),
            to_ns: time_at(k + 1),
        })
    }
}
