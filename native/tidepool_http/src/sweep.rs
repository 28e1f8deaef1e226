//! Time limits of connections: one task looks at all of them, a few times per limit.

use crate::config::Config;
use crate::edge::Edge;
use crate::pulse::{Observation, Order, Phase};
use crate::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How long a client may go on sending what was refused before it is cut off.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Looks at all connections until aborted. A limit is kept to an eighth of the shortest one, at most half a second.
pub(crate) async fn run(edge: Arc<Edge>, registry: Arc<Registry>) {
    let mut sweep = Sweep::default();
    let mut ticks = interval(period(&edge.config));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sweep.pass(&edge, &registry, Instant::now());
    }
}

fn period(config: &Config) -> Duration {
    let shortest = config.header_timeout.min(config.idle_timeout).min(config.write_timeout);
    (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(500))
}

/// What was seen last of each connection, and since when.
#[derive(Default)]
struct Sweep {
    seen: HashMap<u64, (Observation, Instant)>,
}

impl Sweep {
    fn pass(&mut self, edge: &Edge, registry: &Registry, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        registry.each(|number, pulse| {
            let seen = pulse.observe();
            let since = match before.remove(&number) {
                Some((last, since)) if last == seen => since,
                _ => now,
            };
            let age = now.saturating_duration_since(since);
            if let Some(order) = verdict(&edge.config, seen, age) {
                count(edge, seen);
                pulse.give(order);
            }
            self.seen.insert(number, (seen, since));
        });
    }
}

/// What to do about a connection that has looked the same for so long.
fn verdict(config: &Config, seen: Observation, age: Duration) -> Option<Order> {
    let (limit, order) = match (seen.phase, seen.order) {
        (_, Order::Cut) | (Phase::Busy, _) => return None,
        (Phase::Blocked, _) => (config.write_timeout, Order::Cut),
        (Phase::Linger, _) => (LINGER, Order::Cut),
        (Phase::Head, _) => (config.header_timeout, Order::Cut),
        (Phase::Idle, Order::Serve | Order::Leave) => (config.idle_timeout, Order::Close),
        // Told to close, and still here: an HTTP/2 client that ignores the farewell.
        (Phase::Idle, Order::Close) => (config.header_timeout, Order::Cut),
    };
    (age >= limit).then_some(order)
}

fn count(edge: &Edge, seen: Observation) {
    let counter = match seen.phase {
        Phase::Blocked => &edge.gauges.write_timeouts,
        Phase::Head => &edge.gauges.header_timeouts,
        Phase::Idle if seen.order == Order::Serve => &edge.gauges.idle_timeouts,
        Phase::Idle | Phase::Linger | Phase::Busy => return,
    };
    counter.fetch_add(1, Relaxed);
}
