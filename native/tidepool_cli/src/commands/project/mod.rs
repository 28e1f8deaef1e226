//! Projects: begun, built, watched, and what compiles them.

pub(crate) mod build;
pub(crate) mod new;
pub(crate) mod setup;
pub(crate) mod watch;
