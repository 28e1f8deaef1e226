//! waPC: the guest exports `__guest_call`, the host offers nine functions by which both pass bytes.
//!
//! Protocol: <https://wapc.io/docs/spec/>. A call is served like this: the host calls `__guest_call` with the lengths of
//! operation and payload; the guest fetches both with `__guest_request`, works, hands its reply to `__guest_response`
//! and returns 1, or hands a text to `__guest_error` and returns something else.

mod calls;
pub(super) mod data;
mod imports;

pub(crate) use calls::Wapc;
