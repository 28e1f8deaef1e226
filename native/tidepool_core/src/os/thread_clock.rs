//! CPU time of threads.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A moment in the CPU time of the calling thread, user and system.
///
/// Reading it from the kernel takes up to 1.5 µs; reading wall time takes 50 ns. So a slice that begins right after another
/// one takes the CPU time at the end of that and adds the wall time since: one reading per slice, which the slice pays for.
#[derive(Debug)]
pub(crate) struct ThreadClock(Duration);

/// A thread that loses its core loses it for longer.
const RIGHT_AFTER: Duration = Duration::from_micros(20);

thread_local! {
    /// When this thread's CPU time was read last, and what it was.
    static LAST_ASKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

impl ThreadClock {
    pub(crate) fn now() -> Self {
        let since = LAST_ASKED.get().map(|(asked, computed)| (asked.elapsed(), computed));
        match since {
            Some((since, computed)) if since < RIGHT_AFTER => ThreadClock(computed + since),
            _ => ThreadClock(Self::ask()),
        }
    }

    /// So much later.
    pub(crate) fn later(&self, by: Duration) -> Self {
        ThreadClock(self.0.saturating_add(by))
    }

    /// Whether it is over.
    pub(crate) fn has_passed(&self) -> bool {
        Self::ask() >= self.0
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let computed = Self::ask();
        LAST_ASKED.set(Some((Instant::now(), computed)));
        computed.saturating_sub(self.0)
    }

    fn ask() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanoseconds)
    }
}
