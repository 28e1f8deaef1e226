//! The HTTP edge of Tidepool: hyper in front of a [`Backend`].
//!
//! Callers may rely on this, whatever clients do:
//!
//! - Every request handed to the backend ends once: the backend answers it, drops its [`Responder`]
//!   (the client gets 500 `aborted`), or is told that nobody waits any more: [`Later::responder`].
//! - Everything is bounded: connections, requests in flight, uploads, bytes of bodies held, header
//!   size, and the time a client may take to send a head, to send a body, or to read an answer.
//! - Nobody has all of it: a client gets no more of the requests, uploads and bytes than it leaves to others (`budget.rs`).
//! - Bodies that come in pieces, either way, go at the pace of whoever reads them, through bounded buffers.
//! - A refusal is JSON with a stable `reason`; the table of reasons is in `reason.rs`.
//! - [`Server::drain`] closes the listening socket, lets requests in flight finish, then cuts.
//!
//! The crate knows nothing of what a function is. It owns no policy beyond limits and the token.
//!
//! Where to look: `control.rs` sorts what is no call, by the backend's table in `endpoint.rs`; `call.rs` is the path of a
//! call, `exchange.rs` hands a request over and watches its client, `piecewise/` has bodies in pieces,
//! `wire/connection.rs` drives one connection, `wire/pulse.rs` and `wire/sweep.rs` are its timeouts.
#![forbid(unsafe_code)]

mod access;
mod answer;
mod backend;
mod body;
mod budget;
mod call;
mod config;
mod control;
mod deploy;
mod edge;
mod endpoint;
mod exchange;
mod host;
mod line;
mod notices;
mod peers;
mod percent;
mod piecewise;
mod queueing;
mod reason;
mod refused;
mod resource;
mod server;
mod stats;
mod wire;
mod written;

pub use answer::{ContentType, Response};
pub use backend::{Backend, Caller, Deploy, Refused, RequestBody, ResourceRequest, Route};
pub use config::{Config, ConfigError};
pub use endpoint::{BodyRule, Endpoint};
pub use peers::{Network, NotANetwork, Peer};
pub use piecewise::channel::{Closed, Signal, Writer};
pub use piecewise::intake::{BodyReader, Piece};
pub use piecewise::responder::{Answer, Later, Pending, Responder};
pub use reason::Reason;
pub use server::{Drained, Server, StartError};
pub use stats::{Stats, Timeouts};
