//! A node, over HTTP: where it is, what is asked of it, and what it answers.

mod address;
mod agent;
mod authorities;
mod client;
mod error;
mod events;
mod form;
mod path;
mod request;

pub(crate) use address::{Address, AddressError, Token};
pub(crate) use agent::agent;
pub(crate) use authorities::Authorities;
pub(crate) use client::Node;
pub(crate) use error::NodeError;
pub(crate) use events::Events;
pub(crate) use form::Form;
pub(crate) use path::Path;
pub(crate) use request::{Asked, Header, Target, headers, method};
