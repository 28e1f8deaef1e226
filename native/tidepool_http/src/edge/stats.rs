//! What the edge counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tidepool_errors::Reason;

/// A picture of the edge. Gauges are now, counters since start; they are read one after another, not at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Gauge: connections open.
    pub connections_open: usize,
    /// Gauge: requests being read or awaiting their answer.
    pub requests_in_flight: usize,
    /// Gauge: bytes of requests and answers held.
    pub buffered_bytes: usize,
    /// Counter: connections accepted.
    pub connections_accepted: u64,
    /// Counter: requests that the backend was asked.
    pub requests: u64,
    /// Counter: of these, not answered where they arrived.
    pub handed_over: u64,
    /// Counter: of these, answered by the backend.
    pub answered: u64,
    /// Counter: of these, given up because the client was gone or a drain passed its limit.
    pub hangups: u64,
    /// Counter: connections cut for being slow, by the limit they passed.
    pub timeouts: Timeouts,
    /// Counter: times the socket could not accept (out of descriptors, say).
    pub accept_errors: u64,
    /// Counter: times accepting stopped because `max_connections` were open.
    pub accept_pauses: u64,
    /// Counter: requests that the edge refused, by reason; those that never happened are left out.
    pub refused: Vec<(Reason, u64)>,
}

/// Connections cut for being slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// No complete head within `header_timeout`.
    pub header: u64,
    /// No progress in writing within `write_timeout`.
    pub write: u64,
    /// No request within `idle_timeout`; these are closed politely.
    pub idle: u64,
}

/// The numbers behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: AtomicUsize,
    pub(crate) uploads: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) hangups: AtomicU64,
    pub(crate) header_timeouts: AtomicU64,
    pub(crate) write_timeouts: AtomicU64,
    pub(crate) idle_timeouts: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) accept_pauses: AtomicU64,
    refused: Refused,
}

/// How often each reason was given.
#[derive(Debug)]
struct Refused([AtomicU64; Reason::ALL.len()]);

impl Default for Refused {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl Gauges {
    pub(crate) fn count_refusal(&self, reason: Reason) {
        if let Some(counter) = self.refused.0.get(reason as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn stats(&self, connections_open: usize, buffered_bytes: usize, handed_over: u64) -> Stats {
        let refused = Reason::ALL.iter().copied().zip(&self.refused.0);
        Stats {
            connections_open,
            requests_in_flight: self.in_flight.load(Relaxed),
            buffered_bytes,
            connections_accepted: self.accepted.load(Relaxed),
            requests: self.requests.load(Relaxed),
            handed_over,
            answered: self.answered.load(Relaxed),
            hangups: self.hangups.load(Relaxed),
            timeouts: Timeouts {
                header: self.header_timeouts.load(Relaxed),
                write: self.write_timeouts.load(Relaxed),
                idle: self.idle_timeouts.load(Relaxed),
            },
            accept_errors: self.accept_errors.load(Relaxed),
            accept_pauses: self.accept_pauses.load(Relaxed),
            refused: refused.map(|(r, n)| (r, n.load(Relaxed))).filter(|(_, n)| *n > 0).collect(),
        }
    }
}
