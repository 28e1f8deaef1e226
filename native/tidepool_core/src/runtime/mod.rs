//! The runtime: all rooms together, as one handle.

pub(crate) mod abis;
pub(crate) mod handle;
pub(crate) mod tier_up;
