//! The runtime: all rooms together, as whoever holds them has them.

pub(crate) mod abis;
pub(crate) mod handle;
pub(crate) mod tier_up;
