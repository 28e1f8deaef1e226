//! Sockets of guests: what may be opened and how many, and how each kind is used. Nothing here knows WebAssembly or processes.
//!
//! An operation is tried on its caller's thread; where it would block it says what for, and whoever waits for that holds no
//! lock meanwhile. A socket may be shared and waited for by many at once. What opens one runs inside the I/O runtime.

pub(crate) mod access;
pub(crate) mod dns;
pub(crate) mod error;
mod family;
pub(crate) mod http;
mod quota;
mod reactor;
pub(crate) mod ready;
mod special;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod udp;
