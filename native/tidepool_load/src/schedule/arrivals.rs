//! One worker's share of a schedule, even or Poisson.

use std::sync::Arc;

use super::{Schedule, UNITS};

/// One start that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which one, unique over all workers of the run.
    pub n: u64,
    /// When, after the base.
    pub due_ns: u64,
}

/// The arrivals of worker `index` of `workers`, in order.
///
/// Even arrivals are dealt out in turn: worker 0 has 0, W, 2W… Poisson arrivals are W independent streams of a W-th of
/// the rate, which together are a Poisson stream of the whole rate.
#[derive(Debug, Clone)]
pub struct Arrivals {
    schedule: Arc<Schedule>,
    index: u64,
    workers: u64,
    taken: u64,
    /// For Poisson: the random source and how much of the integral has passed.
    random: Option<(fastrand::Rng, i128)>,
}

impl Arrivals {
    /// Evenly spaced arrivals.
    #[must_use]
    pub fn even(schedule: Arc<Schedule>, index: u64, workers: u64) -> Arrivals {
        Arrivals { schedule, index, workers: workers.max(1), taken: 0, random: None }
    }

    /// Poisson arrivals; the same seed gives the same arrivals.
    #[must_use]
    pub fn poisson(schedule: Arc<Schedule>, index: u64, workers: u64, seed: u64) -> Arrivals {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        Arrivals { random: Some((random, 0)), ..Arrivals::even(schedule, index, workers) }
    }
}

impl Arrivals {
    /// Goes past all arrivals due before `until_ns` and says how many there were, without visiting each.
    ///
    /// Poisson arrivals that are passed over this way are counted as if they were even from here on.
    pub fn skip_before(&mut self, until_ns: u64) -> u64 {
        let stride = i128::from(self.workers) * UNITS;
        let next = match &self.random {
            None => i128::from(self.index) * UNITS + i128::from(self.taken) * stride,
            Some((_, passed)) => passed + stride,
        };
        let is_before =
            |k: u64| self.schedule.due_ns(next + i128::from(k) * stride).is_some_and(|due_ns| due_ns < until_ns);
        // The first that is not before: `low` many are, `high` many are too many.
        let (mut low, mut high) = (0, self.schedule.arrivals() / self.workers + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.taken += low;
        if let Some((_, passed)) = &mut self.random {
            *passed += i128::from(low) * stride;
        }
        low
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let n = self.index + self.taken * self.workers;
        let target = match &mut self.random {
            None => i128::from(n) * UNITS,
            Some((random, passed)) => {
                let gap = -(1.0 - random.f64()).ln() * self.workers as f64;
                *passed += (gap * UNITS as f64) as i128;
                *passed
            }
        };
        let due_ns = self.schedule.due_ns(target)?;
        self.taken += 1;
        Some(Arrival { n, due_ns })
    }
}
