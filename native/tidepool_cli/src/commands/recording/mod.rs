//! Calls that were recorded: those that a node keeps, and what comes of them when they are run again.

pub(crate) mod recordings;
pub(crate) mod replay;
mod report;
