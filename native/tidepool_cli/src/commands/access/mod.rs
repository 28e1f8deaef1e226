//! Who may do what, and who vouches for it.

pub(crate) mod sign;
pub(crate) mod token;
