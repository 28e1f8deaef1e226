//! Connections: accepted, driven, timed, closed.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod discards;
pub(crate) mod io;
pub(crate) mod pulse;
pub(crate) mod registry;
pub(crate) mod sweep;
pub(crate) mod unread;
