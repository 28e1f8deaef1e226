//! CPU time: what a process may compute, and all processes of a program together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::limits::Limit;

/// What holds for one process.
#[derive(Clone)]
pub(crate) struct CpuBounds {
    own: Option<Duration>,
    /// Where there is a limit: others need not look.
    total: Option<Arc<TotalCpu>>,
}

/// What a process may compute still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuLeft {
    pub(crate) left: Duration,
    /// Which limit that is of, and what it allows.
    pub(crate) limit: Limit,
    pub(crate) allowed: Duration,
}

impl CpuBounds {
    pub(crate) fn new(own_us: Option<u64>, total: &Arc<TotalCpu>) -> Self {
        let total = total.limit().is_some().then(|| Arc::clone(total));
        CpuBounds { own: own_us.map(Duration::from_micros), total }
    }

    /// What is left to a process that has computed so much; `None` is without limit.
    pub(crate) fn left(&self, computed: Duration) -> Option<CpuLeft> {
        let own =
            self.own.map(|allowed| CpuLeft { left: allowed.saturating_sub(computed), limit: Limit::CpuTime, allowed });
        let total = self.total.as_ref().and_then(|total| total.left());
        own.into_iter().chain(total).min_by_key(|it| it.left)
    }

    /// Notes what the process has computed.
    pub(crate) fn charge(&self, spent: Duration) {
        if let Some(total) = &self.total {
            total.charge(spent);
        }
    }
}

impl CpuLeft {
    /// The limit's figure, in ms.
    pub(crate) fn allowed_ms(&self) -> u64 {
        u64::try_from(self.allowed.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
    }
}

const UNLIMITED: u64 = u64::MAX;

/// What all processes of a program may compute on this node, and what they have.
pub(crate) struct TotalCpu {
    limit_ns: AtomicU64,
    spent_ns: AtomicU64,
}

impl TotalCpu {
    pub(in crate::process) fn new(limit: Option<Duration>) -> Self {
        TotalCpu { limit_ns: AtomicU64::new(limit.map_or(UNLIMITED, nanoseconds)), spent_ns: AtomicU64::new(0) }
    }

    /// What they may compute; `None` is without limit.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let limit = self.limit_ns.load(Ordering::Relaxed);
        (limit != UNLIMITED).then(|| Duration::from_nanos(limit))
    }

    /// Lowers the limit: a part of a program begins before it is known.
    pub(crate) fn lower(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.limit_ns.fetch_min(nanoseconds(limit), Ordering::Relaxed);
        }
    }

    fn left(&self) -> Option<CpuLeft> {
        let allowed = self.limit()?;
        let left = allowed.saturating_sub(Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed)));
        Some(CpuLeft { left, limit: Limit::TotalCpuTime, allowed })
    }

    pub(crate) fn charge(&self, spent: Duration) {
        self.spent_ns.fetch_add(nanoseconds(spent), Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(UNLIMITED).min(UNLIMITED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_least_of_what_is_left_of_its_own_and_of_all() {
        let ms = Duration::from_millis;
        let left = |left, limit, allowed| Some(CpuLeft { left: ms(left), limit, allowed: ms(allowed) });
        let total = Arc::new(TotalCpu::new(Some(ms(100))));
        let (one, other) = (CpuBounds::new(Some(70_000), &total), CpuBounds::new(None, &total));
        one.charge(ms(20));
        assert_eq!(one.left(ms(20)), left(50, Limit::CpuTime, 70));
        other.charge(ms(60));
        assert_eq!(one.left(ms(20)), left(20, Limit::TotalCpuTime, 100));
        other.charge(ms(60));
        assert_eq!(other.left(ms(120)), left(0, Limit::TotalCpuTime, 100));
        let unlimited = CpuBounds::new(None, &Arc::new(TotalCpu::new(None)));
        unlimited.charge(ms(60));
        assert_eq!(unlimited.left(ms(60)), None);
    }

    #[test]
    fn a_limit_of_all_is_only_lowered() {
        let total = TotalCpu::new(None);
        for (limit, then) in
            [(None, None), (Some(50), Some(50)), (Some(70), Some(50)), (None, Some(50)), (Some(9), Some(9))]
        {
            total.lower(limit.map(Duration::from_millis));
            assert_eq!(total.limit(), then.map(Duration::from_millis));
        }
    }
}
