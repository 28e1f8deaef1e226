//! Answers that come piece by piece, on their way to their clients: see `backend/channel.rs`.

use crate::backend::channel::{Channel, Kept, Reader};
use crate::backend::streamed::Streamed;
use crate::budget::shares::{CHANNEL_BYTES, Hold};
use crate::connection::state::{Busy, ConnectionState, Untaken};
use crate::edge::shared::{Edge, EndpointSlot, Slot};
use crate::exchange::pump::{Pump, Pumping};
use crate::exchange::written::{Http, Written};
use crate::message::refusal::Refusal;
use crate::message::response::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What a stream has of the server.
pub(crate) struct Has {
    hold: Option<Hold>,
    _body: Option<Hold>,
    _slot: Slot,
    _place: Option<EndpointSlot>,
    _pumping: Option<Pumping>,
    /// The connection is no idle one.
    busy: Busy,
}

impl Has {
    pub(crate) fn new(hold: Hold, begun: Begun, connection: &Arc<ConnectionState>) -> Self {
        let Begun { slot, place, body, pump } = begun;
        let busy = connection.begin();
        Has { hold: Some(hold), _body: body, _slot: slot, _place: place, _pumping: pump.map(Pump::spawn), busy }
    }

    /// Gives it back. A stream that was given up counts against its client.
    pub(crate) fn end(self, is_whole: bool) {
        if is_whole {
            self.busy.answered();
        }
    }
}

impl Kept for Has {
    fn give_back(self: Box<Self>, is_whole: bool) {
        self.end(is_whole);
    }

    fn hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }
}

/// What a request keeps while its answer goes on.
pub(crate) struct Begun {
    pub(crate) slot: Slot,
    pub(crate) place: Option<EndpointSlot>,
    /// That of a body in memory, of which the backend may keep some for as long as it answers.
    pub(crate) body: Option<Hold>,
    pub(crate) pump: Option<Pump>,
}

/// Turns the head of an answer and the stream behind it into HTTP.
///
/// # Errors
///
/// [`crate::Reason::Overloaded`] when there is no room for it.
pub(crate) fn streamed(
    edge: &Edge,
    connection: &Arc<ConnectionState>,
    head: Response,
    reader: Reader,
    begun: Begun,
) -> Result<Http, Refusal> {
    let mut hold = edge.budget.hold(&begun.slot.accounts);
    if !hold.grow(CHANNEL_BYTES) {
        return Err(edge.overloaded());
    }
    let channel = Arc::clone(&reader.0);
    connection.answers().push(Arc::<Channel>::clone(&channel));
    let streamed = Streamed { reader, connection: Arc::clone(connection) };
    channel.open(Box::new(Has::new(hold, begun, connection)));
    // A drain that began before has not seen it.
    if edge.draining.load(SeqCst) {
        channel.drain();
    }
    Ok(head.into_http().map(|_| Written::Stream(Box::new(streamed))))
}
