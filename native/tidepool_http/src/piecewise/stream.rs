//! Answers that come piece by piece, on their way to their clients: see `channel.rs`.

use crate::answer::Response;
use crate::budget::{CHANNEL_BYTES, Hold};
use crate::edge::{Edge, EndpointPlace, Slot};
use crate::piecewise::channel::{Channel, Kept, Reader};
use crate::piecewise::pump::{Pump, Pumping};
use crate::piecewise::streamed::Streamed;
use crate::reason::Refusal;
use crate::wire::pulse::{Busy, Pulse, Untaken};
use crate::written::{Http, Written};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What a stream has of the server.
struct Has {
    _hold: Hold,
    _slot: Slot,
    _place: Option<EndpointPlace>,
    _pumping: Option<Pumping>,
    /// The connection is no idle one.
    busy: Busy,
}

impl Kept for Has {
    /// A stream that was given up counts against its client.
    fn give_back(self: Box<Self>, is_whole: bool) {
        if is_whole {
            self.busy.answered();
        }
    }
}

/// What a request keeps while its answer goes on.
pub(crate) struct Begun {
    pub(crate) slot: Slot,
    pub(crate) place: Option<EndpointPlace>,
    pub(crate) pump: Option<Pump>,
}

/// Turns the head of an answer and the stream behind it into HTTP.
///
/// # Errors
///
/// [`crate::Reason::Overloaded`] when there is no room for it.
pub(crate) fn streamed(
    edge: &Edge,
    pulse: &Arc<Pulse>,
    head: Response,
    reader: Reader,
    begun: Begun,
) -> Result<Http, Refusal> {
    let mut hold = edge.budget.hold(&pulse.account);
    if !hold.grow(CHANNEL_BYTES) {
        return Err(edge.overloaded());
    }
    let channel = Arc::clone(&reader.0);
    pulse.answers().push(Arc::<Channel>::clone(&channel));
    let streamed = Streamed { reader, pulse: Arc::clone(pulse) };
    let Begun { slot, place, pump } = begun;
    let pumping = pump.map(Pump::spawn);
    let busy = pulse.begin();
    channel.open(Box::new(Has { _hold: hold, _slot: slot, _place: place, _pumping: pumping, busy }));
    // A drain that began before has not seen it.
    if edge.draining.load(SeqCst) {
        channel.drain();
    }
    Ok(head.into_http().map(|_| Written::Stream(Box::new(streamed))))
}
