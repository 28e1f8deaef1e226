//! Snapshots after initialisation: start functions run once, when a module is compiled, and its instances begin where
//! they ended.
//!
//! `prepare` runs `_initialize`, `_start` and `wapc_init` of a waPC module in a `Sandbox` and writes what they left
//! in memory and globals back into the module, which then has nothing to run before a call. Its instances map that
//! memory copy-on-write. A module with which this can't be done faithfully stays as it is, with a [`Refusal`](crate::base::origin::Refusal) that says
//! why; its instances run their start functions themselves.
//!
//! Faithfully means that an instance can't tell. So start functions may not call the host (what they print is printed once,
//! for all instances), and nothing may stay in the
//! image that ought to be another for each instance, which is found out by running them again with other answers:
//!
//! - The monotonic clock is at its beginning, as it is for an instance that has just been made.
//! - The wall clock and randomness may be asked for if the image is the same whatever they say.
//! - The generators of Go's runtime are recognised, and seeded anew for each instance: see `go`.

mod answers;
mod bounds;
mod chacha8;
mod go;
mod image;
mod outline;
mod prepare;
mod sandbox;
mod segments;

pub(crate) use prepare::{Prepared, prepare};
pub(crate) use sandbox::Sandbox;
