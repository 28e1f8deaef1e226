//! Scheduling attributes of threads that must run soon after they are woken, though guests keep all cores busy.

use std::num::NonZeroU64;

/// How late the kernel may wake the ticker, in ns; its default is a whole tick.
const TIMER_SLACK_NS: u64 = 1_000;
/// Niceness of the ticker, where the system permits it: it has little work, and a late tick costs others a core.
const NICE: i32 = -15;
/// The shortest slice that Linux grants, in ns.
const SLICE_NS: u64 = 100_000;

/// Requests a scheduler time slice of 0.1 ms for the calling thread: Linux 6.12 and newer, unprivileged; ignored elsewhere.
///
/// Linux does not preempt a running thread before its slice ends, and looks for that end at its timer interrupts: on a core
/// that a guest keeps busy, a woken thread can wait for 4 ms. A thread with a shorter slice than the running one preempts it
/// at once, as long as it does not get more than its share.
pub fn request_short_timeslice() {
    let _granted = schedule(0);
}

/// Requests wake-ups without delay for the calling thread, as far as the system permits: timer slack, niceness and time slice.
pub(crate) fn request_prompt_wakeups() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
    // A niceness below 0 needs a privilege that many nodes don't have.
    let _granted = schedule(NICE) || schedule(0);
}

/// Requests the shortest slice and this niceness; false when the system refuses.
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
    fn a_thread_that_requests_prompt_wakeups_has_a_short_timer_slack_whatever_its_privileges() {
        std::thread::spawn(|| {
            request_prompt_wakeups();
            assert_eq!(rustix::thread::current_timer_slack().unwrap(), TIMER_SLACK_NS);
            assert!(schedule(0), "a short slice needs no privilege");
        })
        .join()
        .unwrap();
    }
}
