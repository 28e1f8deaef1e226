//! The monotonic clock of guests that are woken: it goes on where it stood when their image was made.

use std::time::Instant;

/// A clock that began with `base_ns`.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    base_ns: u64,
    began: Instant,
}

impl Clock {
    /// A clock that says `base_ns`, now.
    pub(crate) fn starting_at(base_ns: u64) -> Self {
        Clock::since(Instant::now(), base_ns)
    }

    /// A clock that said `base_ns` then.
    pub(crate) fn since(began: Instant, base_ns: u64) -> Self {
        Clock { base_ns, began }
    }

    /// What it says, in ns.
    pub(crate) fn ns(&self) -> u64 {
        self.base_ns.saturating_add(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
