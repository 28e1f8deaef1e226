//! Fuzzing of what reads bytes that strangers send.
//!
//! A target is a function over bytes that panics when a guarantee does not hold; so does the process when the target, or any
//! thread that it has work for it, crashes. [`TARGETS`] lists them. The binary `fuzz` runs them in a plain loop over inputs
//! that it makes from a seed; README.md says how.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is what a target fails with, and what is wrong with the harness ends it"
)]

pub mod behaviour;
pub mod corpus;
pub mod keep;
pub mod mutate;
pub mod panics;
pub mod run;
pub mod smith;
pub mod targets;
pub mod watch;

pub use targets::{TARGETS, Target};
