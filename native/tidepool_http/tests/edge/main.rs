//! The edge as its clients and its backend see it: real sockets, a real server, no sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod access;
mod bodies;
mod deploy;
mod descriptors;
mod drain;
mod early_answer;
mod failure;
mod hangup;
mod heads;
mod http2;
mod lifetimes;
mod namespaces;
mod overload;
mod pieces;
mod routes;
#[path = "../settings/mod.rs"]
mod settings;
mod shares;
mod start;
mod streams;
mod support;
