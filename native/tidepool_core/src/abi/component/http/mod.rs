//! Components that handle requests of HTTP: those that export `wasi:http/incoming-handler` of WASI 0.2.
//!
//! A call has an [`Exchange`](crate::base::request::exchange::Exchange) for its payload. The guest's response goes on when the guest that has
//! set it pauses, and the call goes on until the handler has returned. It ends earlier when its client is gone, or a limit is reached.

mod bounds;
mod calls;
mod content;
mod context;
mod fate;
mod fields;
mod growing;
mod head;
mod lent;
mod outgoing;
mod patience;
mod response;
mod source;

pub(crate) use calls::Handler;
pub(super) use context::HttpContext;
pub(super) use growing::{grown, received};
pub(super) use outgoing::link;
