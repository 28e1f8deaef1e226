//! Times of a thread, and their quantiles.

use std::time::Duration;

/// What this thread has computed: whatever else the machine does is not in it, nor are other threads.
pub(crate) fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Times of one subject, in any unit.
pub(crate) struct Times(pub(crate) Vec<f64>);

impl Times {
    /// The time that this share of them keeps.
    pub(crate) fn at(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len() - 1;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let at = (last as f64 * share).round() as usize;
        self.0[at]
    }
}
