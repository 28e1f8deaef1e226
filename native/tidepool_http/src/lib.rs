//! The HTTP edge of Tidepool: hyper in front of a [`Backend`].
//!
//! Callers may rely on this, whatever clients do:
//!
//! - Every request handed to the backend ends once: the backend answers it, drops its [`Responder`]
//!   (the client gets 500 `aborted`), or is told that the client hung up: [`Deferral::responder`].
//! - Everything is bounded: connections, requests in flight, uploads, bytes of bodies held, header
//!   size, and the time a client may take to send a head, to send a body, or to read an answer.
//! - A client gets no more of the requests, uploads and bytes than it leaves to others (`budget/shares.rs`).
//! - Bodies that come in pieces, either way, go at the pace of their reader, through bounded buffers.
//! - A refusal is JSON with a stable `reason`; reasons are those of the crate `tidepool_errors`.
//! - [`Server::drain`] closes the listening socket, lets requests in flight finish, then cuts.
//!
//! The crate knows nothing of what a function is. It owns no policy beyond limits and the token.
//!
//! README.md has the folders, the threads and the way of a request.
#![forbid(unsafe_code)]

mod backend;
mod budget;
mod connection;
mod edge;
mod exchange;
mod message;
mod routes;
mod server;

#[cfg(test)]
extern crate self as tidepool_http;
#[cfg(test)]
#[path = "../tests/settings/mod.rs"]
mod settings;

pub use backend::channel::{Closed, Signal, Writer};
pub use backend::contract::{Backend, Caller, Deploy, Refused, RequestBody, ResourceRequest, Route};
pub use backend::exchange::{Body, ExchangeRequest};
pub use backend::intake::{BodyReader, Piece};
pub use backend::responder::{Answer, Deferral, PendingAnswer, Responder};
pub use backend::token::{Hash, Scope, Token};
pub use budget::peers::{Network, NotANetwork, Peer};
pub use edge::certificates::{NamedPem, TlsError, Unfit};
pub use edge::config::{Config, ConfigError, Serves};
pub use edge::endpoint::{BodyRule, Endpoint};
pub use edge::sessions::Terms;
pub use edge::stats::{Stats, Timeouts};
pub use edge::tls::Identity;
pub use message::response::{ContentType, Response};
pub use message::traceparent::TraceParent;
pub use server::handle::{Drained, Server, StartError};
pub use tidepool_errors::Reason;
