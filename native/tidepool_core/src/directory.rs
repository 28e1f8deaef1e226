//! The functions that can be called by name.
//!
//! Readers take a snapshot without a lock, so a lookup costs the same whatever is being deployed. Writers copy the map:
//! publishing is rare, and an entry is two pointers.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::function::Function;

/// A function under its name.
#[derive(Clone)]
pub struct Published {
    /// The function.
    pub function: Arc<Function>,
    /// What a call without an operation means.
    pub operation: Arc<[u8]>,
}

/// Functions by name. Replacing one is a single step: a call gets the old version or the new one.
#[derive(Default)]
pub struct Directory {
    entries: ArcSwap<HashMap<Arc<str>, Published>>,
}

impl Directory {
    /// Publishes functions, each in place of the one that had its name, which is retired.
    pub fn publish(&self, functions: Vec<(Arc<str>, Published)>) {
        let before = self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.extend(functions.iter().cloned());
            entries
        });
        for (name, published) in &functions {
            match before.get(name) {
                Some(replaced) if !Arc::ptr_eq(&replaced.function, &published.function) => replaced.function.retire(),
                _ => {}
            }
        }
    }

    /// Forgets a name; its function is retired. Calls in flight keep what they use.
    pub fn unpublish(&self, name: &str) {
        let before = self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.remove(name);
            entries
        });
        if let Some(removed) = before.get(name) {
            removed.function.retire();
        }
    }

    /// Runs `found` with the function of this name.
    pub fn with<R>(&self, name: &str, found: impl FnOnce(&Published) -> R) -> Option<R> {
        self.entries.load().get(name).map(found)
    }
}
