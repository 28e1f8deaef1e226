//! Records of named instances: their file, and what is read and written there.

pub(crate) mod change;
pub(crate) mod store;
