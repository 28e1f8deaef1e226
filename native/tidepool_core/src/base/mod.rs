//! Values that every other room may know: errors, limits, settings, requests. Nothing here does anything.

pub(crate) mod config;
pub mod console;
pub mod error;
pub mod limits;
pub(crate) mod moves;
pub mod origin;
pub(crate) mod printed;
pub(crate) mod request;
pub mod trap;
