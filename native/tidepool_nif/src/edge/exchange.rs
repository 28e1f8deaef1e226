//! Requests for handlers of HTTP: from the edge's types to the core's, and the way of the response back.

use std::sync::{Arc, Mutex, PoisonError};

use tidepool_core::ShortName;
use tidepool_core::exchange::{Ends, Exchange};
use tidepool_http::{ExchangeRequest, Responder};

/// Where a request waits for its answer: of a handler of HTTP, that is the guest's, and else Elixir's.
pub(crate) type Waiting = Arc<Mutex<Option<Responder>>>;

/// Most bytes of a path that is told of a request.
const PATH_BYTES: usize = 256;

/// What a request is called where calls have an operation (its method and its path, without the query), and the request as the core
/// has it.
pub(crate) fn of(request: ExchangeRequest, responder: &Waiting) -> (ShortName, Exchange) {
    let ExchangeRequest { request, is_secure, .. } = request;
    let mut operation = ShortName::from_slice(request.method().as_str().as_bytes());
    operation.push(b' ');
    operation.extend_from_slice(request.uri().path().as_bytes());
    operation.truncate(PATH_BYTES);
    let responder = Arc::clone(responder);
    let respond = Box::new(move |response| {
        if let Some(responder) = responder.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // One that is hung up drops it, which ends the guest.
            responder.pass(response);
        }
    });
    (operation, Exchange::new(Ends { request, is_secure, respond, is_bounded: true }))
}
