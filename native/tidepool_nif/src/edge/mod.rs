//! The HTTP edge: its server, the requests that go to processes, and bodies in pieces.

pub(crate) mod exchange;
mod request;
pub(crate) mod sampling;
pub(crate) mod server;
pub(crate) mod stream;
