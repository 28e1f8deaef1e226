//! Counters of functions and of the node, and their text for Prometheus. Who counts knows nothing of who reads.

pub(crate) mod counters;
pub(crate) mod text;
