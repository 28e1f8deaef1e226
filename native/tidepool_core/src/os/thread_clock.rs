//! What a thread has computed.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A moment of this thread's own time: what it has computed, in user code and in the system.
///
/// Asking the kernel for it takes up to 1.5 µs, where asking for wall time takes 50 ns. So a slice that begins right after
/// another has ended takes the end of that and the wall time since, and is charged with what its one question costs.
pub(crate) struct ThreadClock(Duration);

/// Whoever loses its core loses it for longer.
const RIGHT_AFTER: Duration = Duration::from_micros(20);

thread_local! {
    /// When this thread was asked last, and what it had computed.
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
