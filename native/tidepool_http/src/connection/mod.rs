//! One connection: its state, its socket, and what of a body is left unread.

pub(crate) mod discards;
pub(crate) mod socket;
pub(crate) mod state;
pub(crate) mod unread;
