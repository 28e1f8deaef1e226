//! A clock that goes on while the machine sleeps.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, with those in which it slept.
#[rustler::nif]
fn boottime_ms() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}
