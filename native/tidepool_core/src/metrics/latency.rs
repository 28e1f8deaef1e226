//! How long calls take, counted in eight buckets an octave.
//!
//! A bucket's number follows from a time's highest bits, as in the [HDR histogram](https://hdrhistogram.github.io/HdrHistogram/), so
//! counting costs the same for long times as for short ones. An octave takes memory once there is a call in it: those of most
//! functions lie within a few.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::os::per_thread::Count;

/// Buckets in an octave, as a power of two.
const PARTS_LOG2: u32 = 3;
const PARTS: usize = 1 << PARTS_LOG2;
/// The first octave ends at 1,024 ns, the last one at 17 s.
const FIRST_LOG2: u32 = 9;
const OCTAVES: usize = 25;

/// Upper bounds of the buckets, in ns. There is one bucket more, for what took longer.
pub(super) const BOUNDS_NS: [u64; OCTAVES * PARTS] = bounds();
/// How many buckets there are.
pub(super) const BUCKETS: usize = BOUNDS_NS.len() + 1;

#[allow(clippy::indexing_slicing, reason = "constants can't iterate; the compiler is who would find it")]
const fn bounds() -> [u64; OCTAVES * PARTS] {
    let mut bounds = [0; OCTAVES * PARTS];
    let mut bucket = 0;
    while bucket < bounds.len() {
        let width = 1 << (FIRST_LOG2 - PARTS_LOG2) << (bucket / PARTS);
        bounds[bucket] = width * (PARTS + bucket % PARTS + 1) as u64;
        bucket += 1;
    }
    bounds
}

/// Which octave, and which part of it, a time belongs to; `None` for those beyond the last bound.
fn place(ns: u64) -> Option<(usize, usize)> {
    // A bound belongs to the bucket below it. What is shorter than the first octave is in its first part.
    let ns = ns.saturating_sub(1).max(1 << FIRST_LOG2);
    let octave = ns.ilog2() - FIRST_LOG2;
    let part = ns >> (octave + FIRST_LOG2 - PARTS_LOG2) & (PARTS as u64 - 1);
    let (octave, part) = (usize::try_from(octave).ok()?, usize::try_from(part).ok()?);
    (octave < OCTAVES).then_some((octave, part))
}

/// A time as it is counted: 584 years fit.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Octave([AtomicU64; PARTS]);

/// Counts of calls by how long they took.
#[derive(Debug)]
pub(super) struct Latencies {
    octaves: [OnceLock<Box<Octave>>; OCTAVES],
    longer: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies { octaves: array::from_fn(|_| OnceLock::new()), longer: AtomicU64::new(0) }
    }
}

impl Latencies {
    /// Counts a call that took so many ns.
    pub(super) fn record(&self, ns: u64, count: Count) {
        let of = place(ns).and_then(|(octave, part)| {
            let octave = self.octaves.get(octave)?.get_or_init(Box::default);
            octave.0.get(part)
        });
        count.add(of.unwrap_or(&self.longer), 1);
    }

    /// Adds the counts to `totals`, of which there are [`BUCKETS`].
    pub(super) fn add_to(&self, totals: &mut [u64; BUCKETS]) {
        let (parts, longer) = totals.split_at_mut(BOUNDS_NS.len());
        for (totals, octave) in parts.chunks_exact_mut(PARTS).zip(&self.octaves) {
            let Some(octave) = octave.get() else { continue };
            for (total, count) in totals.iter_mut().zip(&octave.0) {
                *total = total.wrapping_add(count.load(Ordering::Relaxed));
            }
        }
        for total in longer {
            *total = total.wrapping_add(self.longer.load(Ordering::Relaxed));
        }
    }
}

/// The same by whole octaves: their upper bounds in ns, and how many calls there were in each; the last one has no bound.
pub(super) fn by_octaves(totals: &[u64; BUCKETS]) -> impl Iterator<Item = (Option<u64>, u64)> {
    let bounds = BOUNDS_NS.iter().skip(PARTS - 1).step_by(PARTS).copied().map(Some).chain([None]);
    bounds.zip(totals.chunks(PARTS).map(|counts| counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count))))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn bucket(ns: u64) -> usize {
        place(ns).map_or(BOUNDS_NS.len(), |(octave, part)| octave * PARTS + part)
    }

    #[test]
    fn each_time_is_in_the_bucket_whose_bounds_it_lies_between() {
        assert_eq!((BOUNDS_NS[0], BOUNDS_NS[7], BOUNDS_NS[8]), (576, 1_024, 1_152));
        for (at, bound) in BOUNDS_NS.iter().enumerate() {
            assert_eq!(bucket(*bound), at);
            assert_eq!(bucket(bound + 1), at + 1);
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BOUNDS_NS.len()));
    }

    #[test]
    fn bounds_are_an_eighth_of_their_octave_apart() {
        for pair in BOUNDS_NS.windows(2) {
            let ratio = pair[1] as f64 / pair[0] as f64;
            assert!((1.06..1.126).contains(&ratio), "{pair:?}");
        }
    }

    #[test]
    fn whole_octaves_have_what_their_parts_have_and_nothing_is_lost() {
        let latencies = Latencies::default();
        for ns in [0, 600, 1_024, 1_025, 5_000_000, u64::MAX] {
            latencies.record(ns, Count::Alone);
        }
        let mut totals = [0; BUCKETS];
        latencies.add_to(&mut totals);
        let octaves: Vec<_> = by_octaves(&totals).collect();
        assert_eq!(octaves.len(), OCTAVES + 1);
        assert_eq!((octaves[0], octaves[1]), ((Some(1_024), 3), (Some(2_048), 1)));
        assert_eq!(octaves[OCTAVES], (None, 1));
        assert_eq!(octaves.iter().map(|(_, count)| count).sum::<u64>(), 6);
    }
}
