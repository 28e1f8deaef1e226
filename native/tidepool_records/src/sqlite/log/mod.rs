//! The log of the last changes, which SQLite keeps beside the file: is all in it that was answered?

mod wal;
mod whole;

pub(super) use whole::{beside, lost};
pub(crate) use whole::{check, flush, written_again};
