//! Counters of functions and of the node, their text for Prometheus, and what functions printed and failed with last.

pub(crate) mod counters;
mod deploys;
pub(crate) mod failure;
pub(crate) mod figures;
mod latency;
pub(crate) mod recent;
pub(crate) mod text;
