//! The server: it accepts connections, drives them, ends overdue ones, and drains.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod handle;
pub(crate) mod registry;
pub(crate) mod timeouts;
pub(crate) mod workers;
