//! How long a guest computes at a time, and which guests compute.

pub(crate) mod epoch;
pub(crate) mod inline_estimate;
pub mod run_queue;
pub(crate) mod run_slots;
pub(crate) mod yielding;
