//! How many calls may begin within a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that holds the calls of a second, and fills again at that pace. A bucket is a single number, when it will be full.
#[derive(Debug)]
pub(crate) struct CallRate {
    since: Instant,
    interval_ns: u64,
    full_at_ns: AtomicU64,
    pub(crate) calls_per_s: u32,
}

impl CallRate {
    /// One that is full. Of no calls a second there is one each second.
    pub(crate) fn new(calls_per_s: u32, now: Instant) -> Self {
        let calls_per_s = calls_per_s.max(1);
        let interval_ns = SECOND_NS / u64::from(calls_per_s);
        CallRate { since: now, interval_ns, full_at_ns: AtomicU64::new(0), calls_per_s }
    }

    /// Takes a call out.
    ///
    /// # Errors
    /// How long it takes until there is one, when there is none.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX);
        let most_ns = now_ns.saturating_add(SECOND_NS);
        let after = |full_at_ns: u64| full_at_ns.max(now_ns).saturating_add(self.interval_ns);
        let taken = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at_ns| {
            Some(after(full_at_ns)).filter(|after| *after <= most_ns)
        });
        taken.map(drop).map_err(|full_at_ns| Duration::from_nanos(after(full_at_ns).saturating_sub(most_ns)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn taken(rate: &CallRate, now: Instant) -> usize {
        (0..1_000).filter(|_| rate.take(now).is_ok()).count()
    }

    #[test]
    fn a_second_has_so_many_calls_at_once_and_each_next_one_as_many() {
        let start = Instant::now();
        let rate = CallRate::new(10, start);
        assert_eq!(taken(&rate, start), 10);
        assert_eq!(rate.take(start), Err(Duration::from_millis(100)));
        assert_eq!(taken(&rate, start + Duration::from_millis(250)), 2);
        assert_eq!(taken(&rate, start + Duration::from_secs(1)), 8);
        // It holds no more than a second's.
        assert_eq!(taken(&rate, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn threads_that_take_at_once_never_have_more_than_there_is() {
        let start = Instant::now();
        let rate = CallRate::new(1_000, start);
        let all: usize = std::thread::scope(|scope| {
            let turns: Vec<_> = (0..4).map(|_| scope.spawn(|| taken(&rate, start))).collect();
            turns.into_iter().map(|turn| turn.join().unwrap()).sum()
        });
        assert_eq!(all, 1_000);
    }
}
