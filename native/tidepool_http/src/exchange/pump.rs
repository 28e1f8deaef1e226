//! What brings a request's body to the [`BodyReader`] that asks for it.

use crate::backend::intake::{BodyReader, Come, Intake};
use crate::backend::responder::Reply;
use crate::budget::heads;
use crate::budget::shares::{Accounts, CHANNEL_BYTES, Hold, PIECE_BYTES};
use crate::connection::state::{ConnectionState, Order};
use crate::edge::shared::Edge;
use crate::exchange::body::{Bounds, incomplete};
use crate::exchange::head;
use crate::message::refusal::Refusal;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use std::future::poll_fn;
use std::pin::pin;
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
    (connection, accounts): (&Arc<ConnectionState>, &Accounts),
    body: B,
    bounds: Bounds,
) -> Result<(BodyReader, Pump), Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    open_ahead(edge, (connection, accounts), body, bounds, 0)
}

/// The same for one of which so many bytes are read before anybody asks.
///
/// # Errors
///
/// As of [`open`].
pub(crate) fn open_ahead<B>(
    edge: &Arc<Edge>,
    (connection, accounts): (&Arc<ConnectionState>, &Accounts),
    body: B,
    bounds: Bounds,
    ahead: usize,
) -> Result<(BodyReader, Pump), Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    if body.size_hint().lower() > bounds.bytes as u64 {
        return Err(bounds.too_large());
    }
    // A piece is as large as what was read of the connection at once.
    let pieces = CHANNEL_BYTES.max(edge.config.max_header_bytes).saturating_add(ahead);
    // Over HTTP/2 it comes into a buffer first, as far as its windows let it, and trailers behind it. A body that is smaller than what is
    // read before anybody asks is read to its end, with what is behind it.
    let is_sent_ahead = connection.is_multiplexed() && !body.is_end_stream();
    let waits = is_sent_ahead && body.size_hint().upper().is_none_or(|bytes| bytes >= ahead as u64);
    let trailers = if waits { heads::most_unasked(edge.config.max_header_bytes) } else { 0 };
    let mut hold = edge.budget.hold(accounts);
    if !hold.grow(pieces.saturating_add(trailers)) {
        return Err(edge.overloaded());
    }
    let sent_ahead = if is_sent_ahead {
        Some(connection.hold_sent_ahead(&edge.budget, accounts).ok_or_else(|| edge.overloaded())?)
    } else {
        None
    };
    let intake = Arc::new(Intake::ahead(ahead));
    let (own, connection) = (Arc::clone(&intake), Arc::clone(connection));
    let coming = async move {
        let _sent_ahead = sent_ahead;
        let _held = Coming { intake: Arc::clone(&own), hold: Some(hold) };
        come((&own, &connection), body, &bounds, ahead > 0).await
    };
    Ok((BodyReader(Arc::clone(&intake)), Pump { intake, coming: Some(Box::pin(coming)) }))
}

/// What a body that comes has of the budget. What is there of it when no more comes counts until somebody has taken it.
struct Coming {
    intake: Arc<Intake>,
    /// `None` only while it is dropped.
    hold: Option<Hold>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.intake.keep(hold);
        }
    }
}

/// Makes ready for a body that nobody reads for a while: what its client may send of it meanwhile by HTTP/2, and behind it, counts for as
/// long as this is there. By HTTP/1 it waits with the system.
///
/// # Errors
///
/// [`Reason::Overloaded`] when there is no room for it.
pub(crate) fn hold_unread<B: Body>(
    edge: &Edge,
    connection: &ConnectionState,
    accounts: &Accounts,
    body: &B,
) -> Result<Option<(Arc<Hold>, Hold)>, Refusal> {
    if !connection.is_multiplexed() || body.is_end_stream() {
        return Ok(None);
    }
    let ahead = connection.hold_sent_ahead(&edge.budget, accounts).ok_or_else(|| edge.overloaded())?;
    let mut trailers = edge.budget.hold(accounts);
    if !trailers.grow(heads::most_unasked(edge.config.max_header_bytes)) {
        return Err(edge.overloaded());
    }
    Ok(Some((ahead, trailers)))
}

/// Waits until there is something to read for; false when nobody will read it. The connection is told that it waits: hyper reads nothing
/// then, and by HTTP/1 would not see the client leave.
async fn until_wanted(intake: &Intake, connection: &Arc<ConnectionState>) -> bool {
    let mut wanted = pin!(intake.until_wanted());
    match wanted.as_mut().now_or_never() {
        Some(is_wanted) => is_wanted,
        None if connection.is_multiplexed() => wanted.await,
        None => {
            let _waiting = connection.wait();
            wanted.await
        }
    }
}

async fn come<B>(
    (intake, connection): (&Intake, &Arc<ConnectionState>),
    mut body: B,
    bounds: &Bounds,
    is_ahead: bool,
) -> Result<(), Refusal>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    let mut size = 0_usize;
    // What the client took for the bytes since it was last found quick enough. The backend's own time is not its fault.
    let (mut slow, mut since) = (Duration::ZERO, 0_usize);
    if !until_wanted(intake, connection).await {
        return Ok(());
    }
    loop {
        let began = Instant::now();
        let Ok(frame) = timeout(bounds.time.saturating_sub(slow), body.frame()).await else {
            return Err(bounds.too_slow());
        };
        slow = slow.saturating_add(began.elapsed());
        let Some(frame) = frame else {
            intake.put(Come::End);
            return Ok(());
        };
        let Ok(frame) = frame else {
            return Err(incomplete());
        };
        let data = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) if data.is_empty() => continue,
            Ok(data) => data,
            Err(Ok(trailers)) => {
                head::check(&trailers)?;
                // They wait for who reads them, and are a part of what was read of the connection.
                intake.put(Come::Trailers(tidepool_fields::own(&trailers)));
                return Ok(());
            }
            Err(Err(_)) => continue,
        };
        size = size.saturating_add(data.len());
        if size > bounds.bytes {
            return Err(bounds.too_large());
        }
        since = since.saturating_add(data.len());
        // Who is read ahead of may wait for an answer to what it has sent.
        if is_ahead || since >= PIECE_BYTES {
            (slow, since) = (Duration::ZERO, 0);
        }
        intake.put(Come::Data(data));
        if !until_wanted(intake, connection).await {
            return Ok(());
        }
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

    /// Goes on beside an answer that has begun and may be over before the body is: until nobody reads it. A client of HTTP/1 that is gone
    /// in the middle of its body takes nothing of its answer, either.
    pub(crate) fn run_alone(mut self, connection: &Arc<ConnectionState>) {
        let Some(coming) = self.coming.take() else { return };
        let connection = Arc::clone(connection);
        tokio::spawn(async move {
            let Err(refusal) = coming.await else { return };
            self.intake.put(Come::Failed(refusal.reason));
            if refusal.reason == Reason::BodyIncomplete && !connection.is_multiplexed() {
                connection.give(Order::Cut);
            }
        });
    }

    /// Goes on beside an answer that has begun; what is wrong with the body is the backend's to hear then.
    pub(crate) fn spawn(mut self) -> Pumping {
        Pumping(self.coming.take().map(|coming| {
            tokio::spawn(async move {
                if let Err(refusal) = coming.await {
                    self.intake.put(Come::Failed(refusal.reason));
                }
            })
        }))
    }
}

/// Waits for the reply, and has the body come meanwhile. What is wrong with the body is the answer, when there is none yet:
/// the reply that is dropped then hangs up on the backend.
pub(crate) async fn beside(
    reply: impl Future<Output = Result<Reply, Refusal>>,
    pump: &mut Option<Pump>,
) -> Result<Reply, Refusal> {
    let mut reply = pin!(reply);
    poll_fn(|cx| {
        if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
            return Poll::Ready(reply);
        }
        match pump.as_mut().map(|pump| pump.poll(cx)) {
            Some(Poll::Ready(Err(refusal))) => Poll::Ready(Err(refusal)),
            _ => Poll::Pending,
        }
    })
    .await
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use hyper::HeaderMap;
    use hyper::header::{ETAG, HeaderValue};
    use std::future::ready;
    use std::net::SocketAddr;

    #[tokio::test]
    async fn fields_behind_a_body_keep_nothing_of_what_they_were_read_with() {
        let read: Arc<[u8]> = Arc::from(b"a value and much more".as_slice());
        let value = Bytes::from_owner(Arc::clone(&read)).slice(..7);
        let mut fields = HeaderMap::new();
        fields.insert(ETAG, HeaderValue::from_maybe_shared(value).unwrap());
        let body = Empty::<Bytes>::new().with_trailers(ready(Some(Ok(fields)))).boxed_unsync();
        let time = Duration::from_secs(60);
        let bounds = Bounds { bytes: 1, time, too_large: Reason::PayloadTooLarge, named_bytes: 1 };
        let peer = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let connection = Arc::new(ConnectionState::new(peer, Accounts::default(), Arc::default()));
        let intake = Arc::new(Intake::ahead(1));
        come((&intake, &connection), body, &bounds, true).await.unwrap();
        let mut reader = BodyReader(intake);
        let fields = reader.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(fields.get(ETAG).unwrap(), "a value");
        assert_eq!(Arc::strong_count(&read), 1);
    }
}
