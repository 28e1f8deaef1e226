//! The functions that can be called by name.
//!
//! Readers take a snapshot without a lock, so a lookup costs the same whatever is being deployed. Writers copy the map:
//! publishing is rare, and an entry is two pointers.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::handle::Function;
use crate::base::config::Tier;

/// A function under its name.
#[derive(Clone)]
pub struct Published {
    /// The function.
    pub function: Arc<Function>,
    /// The operation of a call that names none.
    pub operation: Arc<[u8]>,
}

/// Functions by name. Replacing one is a single step: a call gets the old version or the new one.
#[derive(Default)]
pub struct Directory {
    entries: ArcSwap<HashMap<Arc<str>, Published, RandomState>>,
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

    /// Replaces `function` by `with` and retires it; `false` when `function` is no longer published as `name`.
    pub(crate) fn replace(&self, name: &str, function: &Arc<Function>, with: &Arc<Function>) -> bool {
        let stands = |entry: &&Published| Arc::ptr_eq(&entry.function, function);
        let before = self.entries.rcu(|entries| match entries.get_key_value(name) {
            Some((name, published)) if stands(&published) => {
                let published = Published { function: Arc::clone(with), operation: Arc::clone(&published.operation) };
                let mut entries = HashMap::clone(entries);
                entries.insert(Arc::clone(name), published);
                Arc::new(entries)
            }
            _ => Arc::clone(entries),
        });
        let replaced = before.get(name).filter(stands).is_some();
        if replaced {
            function.retire();
        }
        replaced
    }

    /// How many functions run code of this tier.
    pub(crate) fn count(&self, tier: Tier) -> usize {
        self.entries.load().values().filter(|published| published.function.tier() == tier).count()
    }

    /// Removes a name and retires its function, which is returned. Calls in flight keep what they use.
    pub fn unpublish(&self, name: &str) -> Option<Arc<Function>> {
        let before = self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.remove(name);
            entries
        });
        let removed = before.get(name).map(|published| Arc::clone(&published.function))?;
        removed.retire();
        Some(removed)
    }

    /// Runs `found` with the function of this name.
    pub fn with<R>(&self, name: &str, found: impl FnOnce(&Published) -> R) -> Option<R> {
        self.entries.load().get(name).map(found)
    }
}
