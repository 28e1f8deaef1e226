//! Threads that run soon after they are woken, though others keep all cores busy.

use std::num::NonZeroU64;

/// How much later than it asked for the ticker may be woken, in ns; the system's default is a whole tick.
const TIMER_SLACK_NS: u64 = 1_000;
/// What the ticker asks for, where it may: it has little to do, and that on time.
const NICE: i32 = -15;
/// The shortest slice that Linux grants, in ns.
const SLICE_NS: u64 = 100_000;

/// Asks for short slices for the calling thread, as far as the system has them: Linux 6.12 and newer. It takes no right.
///
/// Linux protects what runs from being interrupted until its slice is over, and looks for that end at the interrupts of
/// its clock: on a core that a guest keeps busy, a thread that is woken may so wait for 4 ms. Who asks for a shorter slice
/// than that of the thread that runs is let in at once, as long as it does not get more than its share.
pub fn request_short_timeslice() {
    let _granted = schedule(0);
}

/// Has the calling thread woken when it asked for it. What the system does not grant is done without.
pub(crate) fn wake_on_time() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
    // A niceness below 0 takes a right that many nodes don't have.
    let _granted = schedule(NICE) || schedule(0);
}

/// Asks for the shortest slice and this niceness; false when that is refused.
fn schedule(nice: i32) -> bool {
    let wanted = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call reads `size` bytes of `wanted`, which lives until it returns, and changes how the calling thread
    // (0) is scheduled, nothing else.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) == 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_comes_on_time_has_a_short_timer_slack_whatever_it_may() {
        std::thread::spawn(|| {
            wake_on_time();
            assert_eq!(rustix::thread::current_timer_slack().unwrap(), TIMER_SLACK_NS);
            assert!(schedule(0), "a short slice takes no right");
        })
        .join()
        .unwrap();
    }
}
