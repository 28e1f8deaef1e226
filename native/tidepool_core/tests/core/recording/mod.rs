//! Calls that are recorded come to the same when they are replayed, with nobody there to ask.

mod against;
mod bites;
mod components;
mod copies;
mod cuts;
mod damage;
pub(crate) mod http;
mod keeper;
mod kept;
mod listed;
pub(crate) mod processes;
pub(crate) mod studio;
pub(crate) mod traps;
mod walks;
