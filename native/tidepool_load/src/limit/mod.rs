//! The search for the highest rate that holds an objective.
//!
//! Rates are doubled until one fails, then the gap between the highest that held and the lowest that failed is halved
//! until it is narrow enough. A rate fails only if it fails twice: one hiccup of the machine is not a limit.

mod objective;
mod search;

pub(crate) use objective::Objective;
pub(crate) use search::{Bound, Found, Probe, Search, search};
