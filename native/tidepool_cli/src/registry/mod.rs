//! Registries of the OCI, for modules that are pushed: what a reference says, the logins that docker keeps, and the requests.
//!
//! `oci-client` would do the requests, on an asynchronous runtime and with a second HTTP client: 118 crates more, which take two minutes
//! of a core to build (`cargo build --release --timings`, 0.18), for some hundred lines here.

mod client;
mod error;
mod logins;
mod reference;

pub(crate) use client::Registry;
pub(crate) use error::RegistryError;
pub(crate) use logins::Logins;
pub(crate) use reference::{Reference, SCHEME};
