//! `wasi:sockets` of WASI 0.2: TCP, UDP and names, on the room `net`, by the grants of the deploy's option `net`.
//!
//! A socket is made by the system when it is bound or connected: until then it is a family of addresses. What is not granted is
//! `access-denied`, and a line on the function's console says what grant would be enough. Options of sockets are
//! `not-supported`.

mod access;
mod connection;
mod errors;
mod linked;
mod lookup;
mod options;
mod ready;
mod streams;
mod tcp;
mod tcp_linked;
mod udp;
mod udp_linked;

pub(super) use linked::link;
