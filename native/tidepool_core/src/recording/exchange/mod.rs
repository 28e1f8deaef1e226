//! Requests of HTTP and the responses to them on a tape: a request's head is what was asked, its body comes in pieces as the guest got
//! them, and of a response there is what tells it from others.

pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod streams;
mod taped;
