//! A component's exports, written out: types as WIT and as schemas, and all of it as WIT.

pub(super) mod docs;
mod foreign;
pub(super) mod look;
pub(super) mod named;
mod schema;
mod text;
mod wit;
pub(super) mod writer;
