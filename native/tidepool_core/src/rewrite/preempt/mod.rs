//! Sees to it that a guest comes to a check of the epoch within a slice, whatever its code is made of.
//!
//! wasmtime checks the epoch at loop heads and function entries. Between two of these a guest holds its thread: a body of
//! 7.6 MB has room for 900,000 calls of host functions or millions of instructions, and one `memory.fill` may write all of
//! the memory. So a module is looked at before it is compiled, and changed where it needs that:
//!
//! - An empty `loop`, which is nothing but a check, stands where the instructions since the last check might take longer
//!   than a fraction of a slice, at worst (`cost`, `path`). Host functions that take longer pay for themselves: they yield.
//!   A call through a reference counts as one of a host function where it may be one; in a component another module may have
//!   handed that over.
//! - A bulk instruction of unknown length is looked at when it comes, and a long one done by a function, piece by piece, in a
//!   loop (`bulk`).
//!
//! What the guest computes, and how it traps, stays the same. [`Moves`](crate::base::moves::Moves) leads back from where its code stands then to where
//! its author knows it.

mod bulk;
mod cost;
mod edit;
mod path;
mod rewrite;
mod sections;

pub(crate) use rewrite::{Checked, Refused, checked, checked_in_component};
