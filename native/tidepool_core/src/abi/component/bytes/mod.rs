//! Functions whose parameters and result are bytes and texts: those are copied as they are, without a value for each byte, which takes
//! five hundred times as long.

mod blob;
mod exports;
mod imports;
pub(super) mod text;

pub(super) use exports::call;
pub(super) use imports::define;
