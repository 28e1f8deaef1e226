//! Counters of functions and of the node, and their text for Prometheus.

pub(crate) mod counters;
pub(crate) mod figures;
pub(crate) mod text;
