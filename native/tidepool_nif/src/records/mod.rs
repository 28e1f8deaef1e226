//! Records of named instances: where they are, and what is read and written there.

pub(crate) mod change;
pub(crate) mod lease;
pub(crate) mod moving;
pub(crate) mod store;
pub(crate) mod voter;
