//! What the tool says: text for people, JSON for programs, and nothing that a terminal would obey.

mod progress;
mod table;
mod text;
mod writer;

pub(crate) use progress::Progress;
pub(crate) use table::Table;
pub(crate) use text::{age, bytes, escape, time_until};
pub(crate) use writer::Output;
