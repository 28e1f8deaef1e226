//! What brings a request's body to the [`BodyReader`] that asks for it.

use crate::backend::intake::{BodyReader, Intake};
use crate::budget::shares::{Account, CHANNEL_BYTES, PIECE_BYTES};
use crate::edge::shared::Edge;
use crate::exchange::body::Bounds;
use crate::message::refusal::Refusal;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Body;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tidepool_errors::Reason;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Has the body come, as far as it is asked for. Dropped, it reads no further.
pub(crate) struct Pump {
    intake: Arc<Intake>,
    /// `None` when the body has come to its end.
    coming: Option<BoxFuture<'static, Result<(), Refusal>>>,
}

/// Makes ready for a body that is read in pieces. One that announces too much is refused.
///
/// # Errors
///
/// `bounds.too_large`, or [`Reason::Overloaded`] when there is no room for a piece of it.
pub(crate) fn open<B>(
    edge: &Arc<Edge>,
    account: &Arc<Account>,
    body: B,
    bounds: Bounds,
) -> Result<(BodyReader, Pump), Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    if body.size_hint().lower() > bounds.bytes as u64 {
        return Err(bounds.too_large());
    }
    // A piece is as large as what was read of the connection at once.
    let mut hold = edge.budget.hold(account);
    if !hold.grow(CHANNEL_BYTES.max(edge.config.max_header_bytes)) {
        return Err(edge.overloaded());
    }
    let intake = Arc::new(Intake::default());
    let own = Arc::clone(&intake);
    let coming = async move {
        let _hold = hold;
        come(&own, body, &bounds).await
    };
    Ok((BodyReader(Arc::clone(&intake)), Pump { intake, coming: Some(Box::pin(coming)) }))
}

async fn come<B>(intake: &Intake, mut body: B, bounds: &Bounds) -> Result<(), Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    let mut size = 0_usize;
    // What the client took for the bytes since it was last found quick enough. The backend's own time is not its fault.
    let (mut slow, mut since) = (Duration::ZERO, 0_usize);
    intake.until_wanted().await;
    loop {
        let began = Instant::now();
        let Ok(frame) = timeout(bounds.time.saturating_sub(slow), body.frame()).await else {
            return Err(bounds.too_slow());
        };
        slow = slow.saturating_add(began.elapsed());
        let Some(frame) = frame else {
            intake.put(Ok(None));
            return Ok(());
        };
        let Ok(frame) = frame else {
            return Err(Refusal::new(Reason::BodyIncomplete, "the body ended early: send all of it"));
        };
        let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) else {
            continue;
        };
        size = size.saturating_add(data.len());
        if size > bounds.bytes {
            return Err(bounds.too_large());
        }
        since = since.saturating_add(data.len());
        if since >= PIECE_BYTES {
            (slow, since) = (Duration::ZERO, 0);
        }
        intake.put(Ok(Some(data)));
        intake.until_wanted().await;
    }
}

impl Pump {
    /// Ready when all of the body has come, once, or when something is wrong with it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let Some(coming) = &mut self.coming else { return Poll::Pending };
        let over = coming.as_mut().poll(cx);
        if over.is_ready() {
            self.coming = None;
        }
        over
    }

    /// Goes on beside an answer that has begun; what is wrong with the body is the backend's to hear then.
    pub(crate) fn spawn(mut self) -> Pumping {
        Pumping(self.coming.take().map(|coming| {
            tokio::spawn(async move {
                if let Err(refusal) = coming.await {
                    self.intake.put(Err(refusal.reason));
                }
            })
        }))
    }
}

/// A [`Pump`] that goes on by itself, until this is dropped.
pub(crate) struct Pumping(Option<JoinHandle<()>>);

impl Drop for Pumping {
    fn drop(&mut self) {
        if let Some(pump) = &self.0 {
            pump.abort();
        }
    }
}
