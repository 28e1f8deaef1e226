//! Reads a request's body into memory, bounded in size and time.

use crate::budget::shares::CHARGED_BYTES;
use crate::budget::shares::{Accounts, Hold};
use crate::edge::shared::Edge;
use crate::message::refusal::Refusal;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body;
use std::pin::pin;
use std::time::Duration;
use tidepool_errors::Reason;
use tokio::task::yield_now;
use tokio::time::timeout;

/// What one kind of body may be.
pub(crate) struct Bounds {
    /// Largest size, in bytes.
    pub(crate) bytes: usize,
    /// Time for all of it.
    pub(crate) time: Duration,
    /// Why a larger one is refused.
    pub(crate) too_large: Reason,
    /// The limit that the refusal names, in bytes.
    pub(crate) named_bytes: usize,
}

impl Bounds {
    /// The refusal of a body that is too large.
    pub(crate) fn too_large(&self) -> Refusal {
        let limit = self.named_bytes;
        let message = format!("send at most {limit} bytes, or raise the server's limit");
        let refusal = Refusal::new(self.too_large, message);
        match self.too_large {
            // A deploy that never came by the edge is refused with the same members.
            Reason::TooLarge => refusal.with("allowed", limit).with("unit", "bytes"),
            _ => refusal.with("limit_bytes", limit),
        }
    }

    /// The refusal of a body that comes too slowly.
    pub(crate) fn too_slow(&self) -> Refusal {
        let limit_ms = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        Refusal::new(Reason::BodyTimeout, "the body came too slowly: send it faster, or in smaller requests")
            .with("limit_ms", limit_ms)
    }
}

/// A body of a single frame that is as large stays where it was read.
const TAKEN_BYTES: usize = 64 << 10;

/// A body in memory, with its share of the budget.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) hold: Hold,
}

/// Reads `body` to its end. One that announces too much is refused before a byte of it is read.
///
/// # Errors
///
/// `bounds.too_large`, [`Reason::BodyTimeout`], [`Reason::BodyIncomplete`], or [`Reason::Overloaded`]
/// when too many bytes are held already.
pub(crate) async fn read<B>(edge: &Edge, accounts: &Accounts, body: B, bounds: &Bounds) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > bounds.bytes as u64 {
        return Err(bounds.too_large());
    }
    let mut reading = pin!(read_all(edge, accounts, body, bounds));
    // A body that is there already needs no timer.
    if let Some(held) = reading.as_mut().now_or_never() {
        return held;
    }
    timeout(bounds.time, reading).await.unwrap_or_else(|_| Err(bounds.too_slow()))
}

/// The refusal of a body that does not come to its end.
pub(crate) fn incomplete() -> Refusal {
    let message =
        "the body ended early, or its chunks or trailers are none of HTTP's: send all of it, as its head says";
    Refusal::new(Reason::BodyIncomplete, message)
}

/// How much of an unwanted body is thrown away, so that its connection can go on.
const DISCARDED_BYTES: u64 = 64 << 10;

/// How often the connection is let read on for it.
const DISCARD_TURNS: usize = 3;

/// Throws a small body away as far as it has come already, without waiting for the rest.
pub(crate) async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = DISCARDED_BYTES;
    for _ in 0..DISCARD_TURNS {
        if body.size_hint().lower() > left {
            return;
        }
        while let Some(frame) = body.frame().now_or_never() {
            let Some(Ok(frame)) = frame else { return };
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(less) = left.checked_sub(size) else { return };
            left = less;
        }
        yield_now().await;
    }
}

async fn read_all<B>(edge: &Edge, accounts: &Accounts, mut body: B, bounds: &Bounds) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut hold = edge.budget.hold(accounts);
    let mut bytes = Bytes::new();
    let mut joined = Vec::new();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(incomplete());
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let size = bytes.len().saturating_add(joined.len()).saturating_add(data.len());
        if size > bounds.bytes {
            return Err(bounds.too_large());
        }
        // The number of requests bounds small bodies, so that there is room for them even if the budget is used up.
        if size >= CHARGED_BYTES && !hold.cover(size) {
            return Err(edge.overloaded());
        }
        // One frame, the usual case, is joined with none.
        if bytes.is_empty() && joined.is_empty() {
            bytes = data;
            continue;
        }
        if joined.capacity() < size {
            // What was announced is reserved only as far as it doubles what came, so a lie costs little.
            let doubled = size.checked_add(1).and_then(usize::checked_next_power_of_two).unwrap_or(size);
            let mut larger = edge.backend.buffer(announced.min(doubled).max(size));
            larger.extend_from_slice(&joined);
            larger.extend_from_slice(&std::mem::take(&mut bytes));
            drop(edge.backend.joined(std::mem::replace(&mut joined, larger)));
        }
        joined.extend_from_slice(&data);
    }
    let bytes = if joined.is_empty() { own(bytes) } else { edge.backend.joined(joined) };
    Ok(Held { bytes, hold })
}

/// A frame as a backend may keep it, or pass it on to be kept: a small one may be a part of what its connection reads into, and that
/// stays as long as any part of it.
fn own(frame: Bytes) -> Bytes {
    if frame.len() < TAKEN_BYTES { Bytes::copy_from_slice(&frame) } else { frame }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::backend::idle::Idle;
    use crate::settings::config;
    use http_body_util::Full;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_small_body_keeps_nothing_of_what_it_was_read_with_and_a_large_one_is_where_it_was_read() {
        let edge = Edge::new(config(), Arc::new(Idle));
        let bounds = Bounds {
            bytes: TAKEN_BYTES,
            time: Duration::from_secs(60),
            too_large: Reason::PayloadTooLarge,
            named_bytes: TAKEN_BYTES,
        };
        let whole: Arc<[u8]> = Arc::from(vec![7; TAKEN_BYTES]);
        for size in [1, TAKEN_BYTES - 1, TAKEN_BYTES] {
            let frame = Bytes::from_owner(Arc::clone(&whole)).slice(..size);
            let held = read(&edge, &Accounts::default(), Full::new(frame), &bounds).await.unwrap();
            assert_eq!(held.bytes, whole.get(..size).unwrap());
            assert_eq!(Arc::strong_count(&whole) == 1, size < TAKEN_BYTES, "{size}");
        }
    }
}
