//! Values for every other room: errors, limits, settings, requests. Nothing here acts.

pub(crate) mod bodies;
pub(crate) mod config;
pub mod console;
pub mod error;
pub(crate) mod fair_share;
pub(crate) mod grants;
pub(crate) mod host_grants;
pub mod limits;
pub(crate) mod moves;
pub mod origin;
pub(crate) mod printed;
pub(crate) mod request;
pub mod source_lines;
pub mod trap;
mod unreachables;
