//! The binary, as whoever runs it sees it: against servers that are no nodes, and with projects in folders of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod component;
mod logs;
mod project;
mod rust;
mod servers;
mod setup;
mod support;
mod table;
mod variables;
mod watch;
