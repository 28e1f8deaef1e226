//! Lunatic's interface: programs of many processes, written as plain blocking code.
//!
//! What its guests import is in modules `lunatic::…`, and WASI preview 1 beside them. What only the VM can do (start a process,
//! link, watch, kill) is asked of the driver; all else is done at once, or waits.

pub(super) mod data;
mod entry;
mod handles;
mod imports;
mod letters;
mod networking;
mod support;
mod taped;
mod waits;

pub(crate) use entry::Lunatic;

/// What the names of all its import modules begin with.
pub(crate) const PREFIX: &str = "lunatic::";
/// The import module of what Lunatic does not have.
pub(crate) const OWN: &str = "tidepool";
/// The import module of sockets.
pub(super) const NETWORKING: &str = "lunatic::networking";
