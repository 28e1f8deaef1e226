//! Requests of HTTP/1.1 and HTTP/2 to servers, by sockets of the program's: as many as it may have, to what it is granted, by TLS that is checked
//! as all TLS of guests is. A connection waits a while for the next request.
//!
//! A request is sent, and its response received, on the I/O runtime. What is received waits there for who takes it: a buffer at most.

pub(crate) mod client;
mod connect;
mod connection;
#[cfg(test)]
mod endless_tests;
pub(crate) mod failure;
mod heads;
#[cfg(test)]
mod http2_tests;
mod io;
pub(crate) mod lull;
pub(crate) mod pool;
pub(crate) mod server;
#[cfg(test)]
mod tests;
