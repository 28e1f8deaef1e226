//! Time limits of connections: one task looks at all of them, a few times per limit.

use crate::connection::discards::LINGER;
use crate::connection::state::{ConnectionState, Observation, Order, Phase};
use crate::edge::config::Config;
use crate::edge::shared::Edge;
use crate::server::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How old a connection gets before its client is told to go elsewhere, so that none is for ever.
const CONNECTION_AGE: Duration = Duration::from_secs(3_600);

/// Looks at all connections until aborted. A limit is kept to an eighth of the shortest one, at most half a second.
pub(crate) async fn run(edge: Arc<Edge>, registry: Arc<Registry>) {
    let mut observations = Observations::default();
    let mut ticks = interval(period(&edge.config));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        observations.pass(&edge, &registry, Instant::now());
    }
}

fn period(config: &Config) -> Duration {
    let shortest = config.header_timeout.min(config.idle_timeout).min(config.write_timeout);
    (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(500))
}

/// What was seen last of each connection, and since when.
#[derive(Default)]
struct Observations {
    seen: HashMap<u64, Seen>,
}

struct Seen {
    observation: Observation,
    since: Instant,
    first: Instant,
}

impl Observations {
    fn pass(&mut self, edge: &Edge, registry: &Registry, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        registry.each(|number, connection| {
            expire_answers(edge, connection, now);
            let observation = connection.observe();
            let before = before.remove(&number);
            let first = before.as_ref().map_or(now, |before| before.first);
            let since = match before {
                Some(before) if before.observation == observation => before.since,
                _ => now,
            };
            if let Some(order) = verdict(&edge.config, observation, now.saturating_duration_since(since)) {
                count(edge, observation);
                connection.give(order);
            } else if now.saturating_duration_since(first) >= CONNECTION_AGE {
                connection.give(Order::Leave);
            }
            self.seen.insert(number, Seen { observation, since, first });
        });
    }
}

/// Takes answers away from a client that doesn't take them. HTTP/1 has nothing to say but that answer; with HTTP/2 the
/// others go on.
fn expire_answers(edge: &Edge, connection: &ConnectionState, now: Instant) {
    let config = &edge.config;
    if connection.order() == Order::Cut {
        return;
    }
    let expired =
        connection.answers().iter().filter(|a| a.expire(now, config.write_timeout, config.upload_timeout)).count();
    if expired > 0 {
        edge.gauges.write_timeouts.fetch_add(expired as u64, Relaxed);
        if !connection.is_multiplexed() {
            connection.give(Order::Cut);
        }
    }
}

/// The order for a connection that has looked the same for `age`.
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
