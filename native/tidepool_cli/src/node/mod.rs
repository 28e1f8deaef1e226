//! A node, over HTTP: where it is, what is asked of it, and what it answers.

mod address;
mod client;
mod error;
mod form;
mod path;

pub(crate) use address::{Address, AddressError, Token};
pub(crate) use client::Node;
pub(crate) use error::NodeError;
pub(crate) use form::Form;
pub(crate) use path::Path;
