//! The sockets of a guest.

/// What a guest has of the network.
#[derive(Default)]
pub(crate) struct Sockets {}
