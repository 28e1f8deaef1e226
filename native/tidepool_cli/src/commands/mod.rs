//! The commands, a file for each, or for those about the same thing.

pub(crate) mod access;
pub(crate) mod actor;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod functions;
pub(crate) mod logs;
mod members;
pub(crate) mod process;
pub(crate) mod project;
pub(crate) mod push;
pub(crate) mod recording;
pub(crate) mod status;
pub(crate) mod voters;
