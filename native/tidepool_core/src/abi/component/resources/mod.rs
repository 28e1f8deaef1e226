//! Resources: a guest's, of which its callers have handles, and the host's, of which the guest has some.

mod giving;
pub(super) mod kept;

pub(super) use giving::{Checking, Giving, drop_one, drop_released, take_lent};
