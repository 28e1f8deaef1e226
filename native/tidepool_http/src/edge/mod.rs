//! What all connections share: settings, endpoints, counters, and the rules that admit a request.

pub(crate) mod access;
pub(crate) mod certificates;
pub(crate) mod config;
pub(crate) mod endpoint;
pub(crate) mod host;
pub(crate) mod notices;
pub(crate) mod refused;
pub(crate) mod sessions;
pub(crate) mod shared;
pub(crate) mod stats;
pub(crate) mod tls;
pub(crate) mod tokens;
