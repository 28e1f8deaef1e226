//! Recordings: what a guest was told that it could not have computed, so that its call can be run again, without host and clock.
//!
//! A guest is its module and what it is told. All of an ABI's code runs again when a call is replayed, as it is the same each time;
//! what differs from time to time comes from a few sources, and each of these is taped where it is asked ([`tape`]): clocks, random
//! bytes, answers of the host, waits, memory that was refused. A tape belongs to an instance, and begins with it. What is kept of one
//! (`format`) is written by a thread of its own ([`keeper`]), and read again as a [`Recording`], of which a [`player`] answers in place
//! of the sources.

mod bytes;
mod damaged;
pub(crate) mod entry;
pub(crate) mod exchange;
mod format;
pub(crate) mod keeper;
pub(crate) mod outcome;
pub(crate) mod outside;
mod owner;
pub(crate) mod player;
pub(crate) mod policy;
mod questions;
mod recorder;
pub(crate) mod report;
pub(crate) mod tape;
pub(crate) mod taped;
mod values;

pub use damaged::Damaged;
pub use format::{Head, Recording, Summary};
pub use keeper::{Counts, Files, Keeper, Listed};
pub use player::How;
