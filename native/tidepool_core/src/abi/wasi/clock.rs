//! The monotonic clock of guests that are woken: it goes on where it stood when their image was made.

use std::time::Instant;

use wasmtime_wasi::HostMonotonicClock;

/// A clock that began with `base_ns`.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    base_ns: u64,
    began: Instant,
}

impl Clock {
    pub(super) fn starting_at(base_ns: u64) -> Self {
        Clock { base_ns, began: Instant::now() }
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.base_ns.saturating_add(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
