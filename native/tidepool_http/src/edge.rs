//! What all connections of one server share, and who may come in.

use crate::backend::Backend;
use crate::budget::Budget;
use crate::config::Config;
use crate::reason::{Reason, Refusal};
use crate::stats::Gauges;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tokio::sync::Notify;

/// Requests above `max_requests` that may look at the server while it is overloaded.
const OBSERVERS: usize = 16;

pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) gauges: Gauges,
    pub(crate) budget: Arc<Budget>,
    /// Set once a drain began; from then on `settled` is told of every end.
    pub(crate) draining: AtomicBool,
    pub(crate) settled: Notify,
    last_id: AtomicU64,
}

/// Why a request wants in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Makes the backend work.
    Work,
    /// Asks how the server is, and must get through when work does not.
    Observe,
}

impl Edge {
    pub(crate) fn new(config: Config, backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(config.max_buffered_bytes),
            config,
            backend,
            gauges: Gauges::default(),
            draining: AtomicBool::new(false),
            settled: Notify::new(),
            last_id: AtomicU64::new(0),
        })
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// How many requests have got an id.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.load(Relaxed)
    }

    /// A place among the requests in flight.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken.
    pub(crate) fn admit(self: &Arc<Self>, purpose: Purpose) -> Result<Slot, Refusal> {
        let limit = match purpose {
            Purpose::Work => self.config.max_requests,
            Purpose::Observe => self.config.max_requests.saturating_add(OBSERVERS),
        };
        self.take(|gauges| &gauges.in_flight, limit)
    }

    /// A place among the deploys in flight, taken besides the one of [`Edge::admit`].
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken.
    pub(crate) fn admit_upload(self: &Arc<Self>) -> Result<Slot, Refusal> {
        self.take(|gauges| &gauges.uploads, self.config.max_uploads)
    }

    fn take(self: &Arc<Self>, gauge: fn(&Gauges) -> &AtomicUsize, limit: usize) -> Result<Slot, Refusal> {
        let slot = Slot { edge: Arc::clone(self), gauge };
        if gauge(&self.gauges).fetch_add(1, Relaxed) < limit { Ok(slot) } else { Err(self.overloaded()) }
    }

    pub(crate) fn overloaded(&self) -> Refusal {
        let seconds = self.config.retry_after_s;
        Refusal::new(Reason::Overloaded, "too much is in flight: try again later")
            .with("retry_after_s", seconds)
            .header("retry-after", seconds.to_string())
    }

    /// Tells a drain that something ended.
    pub(crate) fn settle(&self) {
        if self.draining.load(SeqCst) {
            self.settled.notify_waiters();
        }
    }
}

/// A place taken, given back on drop.
pub(crate) struct Slot {
    edge: Arc<Edge>,
    gauge: fn(&Gauges) -> &AtomicUsize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        (self.gauge)(&self.edge.gauges).fetch_sub(1, SeqCst);
        self.edge.settle();
    }
}
