//! A component's exports, written out: types as WIT and as schemas, and all of it as WIT.

pub(super) mod docs;
mod schema;
mod text;
mod wit;
pub(super) mod writer;
