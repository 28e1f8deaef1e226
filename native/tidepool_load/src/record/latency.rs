//! A histogram of times, kept in microseconds.

use hdrhistogram::Histogram;

/// The longest time told apart: one hour. Longer ones count as that.
const LONGEST_US: u64 = 3_600_000_000;

/// A distribution of times. Recording never fails and never allocates after the first value.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    digits: u8,
    counts: Option<Histogram<u32>>,
}

impl Latencies {
    /// An empty distribution of so many significant digits (1 to 4).
    pub(crate) fn new(digits: u8) -> Latencies {
        Latencies { digits: digits.clamp(1, 4), counts: None }
    }

    /// Adds one time.
    pub(crate) fn record_ns(&mut self, ns: u64) {
        if self.counts.is_none() {
            self.counts = Histogram::new_with_bounds(1, LONGEST_US, self.digits).ok();
        }
        if let Some(counts) = &mut self.counts {
            counts.saturating_record(ns / 1000);
        }
    }

    /// Adds all of another's times.
    pub(crate) fn merge(&mut self, other: &Latencies) {
        match (&mut self.counts, &other.counts) {
            (_, None) => {}
            // Both have the same bounds, so nothing of the other's is out of range.
            (Some(mine), Some(theirs)) => {
                let _ = mine.add(theirs);
            }
            (mine @ None, Some(theirs)) if self.digits == other.digits => *mine = Some(theirs.clone()),
            (mine @ None, Some(theirs)) => {
                let mut fresh = Histogram::new_with_bounds(1, LONGEST_US, self.digits).ok();
                if let Some(fresh) = &mut fresh {
                    let _ = fresh.add(theirs);
                }
                *mine = fresh;
            }
        }
    }

    /// How many times were recorded.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.counts.as_ref().map_or(0, Histogram::len)
    }

    /// The time below which this part (0 to 1) of all lie, in microseconds; 0 if there are none.
    pub(crate) fn quantile_us(&self, part: f64) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.value_at_quantile(part).min(counts.max()))
    }

    /// The longest time, in microseconds.
    pub(crate) fn max_us(&self) -> u64 {
        self.counts.as_ref().map_or(0, Histogram::max)
    }

    /// Counts between the given bounds (ascending, in microseconds): one more count than bounds.
    pub(crate) fn binned(&self, bounds_us: &[u64]) -> Vec<u64> {
        let mut bins = vec![0; bounds_us.len() + 1];
        for value in self.counts.iter().flat_map(Histogram::iter_recorded) {
            let bin = bounds_us.partition_point(|bound| *bound < value.value_iterated_to());
            if let Some(bin) = bins.get_mut(bin) {
                *bin += value.count_since_last_iteration();
            }
        }
        bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_loses_no_time() {
        let (mut one, mut other) = (Latencies::new(3), Latencies::new(3));
        for k in 1..=1000 {
            one.record_ns(k * 1000);
            other.record_ns(k * 1_000_000);
        }
        let mut whole = Latencies::new(2);
        whole.merge(&one);
        whole.merge(&other);
        assert_eq!(whole.len(), 2000);
        assert_eq!(whole.binned(&[1000]).iter().sum::<u64>(), 2000);
        assert!(whole.max_us() >= 1_000_000);
    }

    #[test]
    fn a_time_beyond_the_hour_counts_as_the_hour() {
        let mut latencies = Latencies::new(3);
        latencies.record_ns(u64::MAX);
        assert_eq!(latencies.len(), 1);
        assert!(latencies.max_us() >= LONGEST_US);
    }

    #[test]
    fn an_empty_distribution_reports_zero() {
        let latencies = Latencies::new(3);
        assert_eq!((latencies.len(), latencies.quantile_us(0.99), latencies.max_us()), (0, 0, 0));
    }
}
