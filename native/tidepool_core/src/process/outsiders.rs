//! Processes of the host's that have a number in a program. Nobody tells the program of their ends.

use std::sync::{Arc, Mutex, PoisonError};

use super::handle::Process;
use crate::base::request::Address;

/// So many are never looked through.
const LEAST: usize = 1_024;

#[derive(Default)]
pub(super) struct Outsiders(Mutex<Known>);

#[derive(Default)]
struct Known {
    all: Vec<Arc<Process>>,
    /// How many were left when they were last looked through.
    left: usize,
}

impl Outsiders {
    /// Adds one; those that don't live any more, when there are twice as many as were left the last time.
    pub(super) fn add(&self, process: Arc<Process>, lives: impl Fn(Address) -> bool) -> Vec<Arc<Process>> {
        // Nothing panics while it holds the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.all.push(process);
        if known.all.len() < LEAST.max(2 * known.left) {
            return Vec::new();
        }
        let lives = |process: &Arc<Process>| !process.is_dead() && process.address().is_some_and(&lives);
        let (left, gone) = std::mem::take(&mut known.all).into_iter().partition(lives);
        known.all = left;
        known.left = known.all.len();
        gone
    }
}
