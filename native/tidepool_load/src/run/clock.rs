//! The time of a run: nanoseconds after its base.

use std::time::{Duration, Instant};

/// A monotonic clock with the run's base as zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Instant,
}

impl Clock {
    /// A clock whose zero is that far ahead.
    pub(crate) fn starting_in(ahead: Duration) -> Clock {
        Clock { base: Instant::now() + ahead }
    }

    /// Nanoseconds since the base; 0 before it.
    pub(crate) fn now_ns(self) -> u64 {
        crate::units::nanos(self.base.elapsed())
    }

    /// How many nanoseconds after the base an instant is; 0 before it.
    pub(crate) fn ns_of(self, at: Instant) -> u64 {
        crate::units::nanos(at.saturating_duration_since(self.base))
    }

    /// The instant so many nanoseconds after the base.
    pub(crate) fn at(self, ns: u64) -> Instant {
        self.base + Duration::from_nanos(ns)
    }
}
