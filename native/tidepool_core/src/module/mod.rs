//! From a module's bytes to what instances are made of.

pub(crate) mod actor;
mod cache;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod compiled;
mod files;
mod kept;
pub(crate) mod moving;
mod needs;
pub(crate) mod toolchain;

pub(crate) use cache::Cache;
pub use cache::Complaint;
