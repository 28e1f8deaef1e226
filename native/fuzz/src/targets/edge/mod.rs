//! Targets of the HTTP edge.

pub(super) mod http1;
pub(super) mod http2;
pub(super) mod multipart;
mod reply;
pub(super) mod requests;
mod server;
#[path = "../../../../tidepool_http/tests/settings/mod.rs"]
mod settings;
