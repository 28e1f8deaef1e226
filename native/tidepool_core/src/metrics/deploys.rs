//! What deploys have come to.

use std::collections::BTreeMap;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidepool_errors::{Mark, Reason};

use super::latency::nanoseconds;

/// Upper bounds of the buckets of deploys, in ms.
pub(super) const DEPLOY_BUCKETS_MS: [u64; 13] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// What deploys have come to.
#[derive(Debug, Default)]
pub(crate) struct Deploys(Mutex<DeployStats>);

#[derive(Debug, Default, Clone)]
pub(super) struct DeployStats {
    /// By reason.
    pub(super) ended: BTreeMap<String, u64>,
    pub(super) durations: [u64; DEPLOY_BUCKETS_MS.len() + 1],
    pub(super) ns: u64,
}

/// How deploys end that alerts ask for (`ops/prometheus.rules.yml`): there from the start, so that the first one is an increase.
fn watched() -> impl Iterator<Item = &'static str> {
    let failed = Reason::ALL.iter().filter(|reason| reason.is(Mark::Watched)).map(|reason| reason.name());
    iter::once("ok").chain(failed)
}

impl Deploys {
    pub(crate) fn record(&self, reason: &str, took: Duration) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = stats.ended.entry(reason.to_owned()).or_default();
        *ended = ended.saturating_add(1);
        let bucket = DEPLOY_BUCKETS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(count) = stats.durations.get_mut(bucket.unwrap_or(DEPLOY_BUCKETS_MS.len())) {
            *count = count.saturating_add(1);
        }
        stats.ns = stats.ns.saturating_add(nanoseconds(took));
    }

    pub(super) fn snapshot(&self) -> DeployStats {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for reason in watched() {
            stats.ended.entry(reason.to_owned()).or_default();
        }
        stats
    }
}
