//! Clocks of guests whose calls are recorded or replayed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::abi::clock::Clock;
use crate::recording::entry;
use crate::recording::tape::Reel;

/// The monotonic clock.
pub(super) struct Monotonic(pub(super) Clock, pub(super) Reel);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.1.tape().time(entry::Clock::Monotonic, || self.0.ns())
    }
}

/// The clock of the day.
pub(super) struct Wall(pub(super) Reel);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = || u64::try_from(now()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.tape().time(entry::Clock::Wall, now))
    }
}
