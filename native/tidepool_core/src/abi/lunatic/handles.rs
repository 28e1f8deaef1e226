//! Handles: the numbers by which a guest names what its host keeps for it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most entries of one table, where nothing else is said: a guest that drops nothing is stopped.
const MAX_HANDLES: usize = 100_000;

/// A table of handles of one kind, of `MOST` at a time. They count from 0, and none is given twice.
pub(crate) struct Handles<T, const MOST: usize = MAX_HANDLES> {
    next: u64,
    entries: HashMap<u64, T, RandomState>,
}

impl<T, const MOST: usize> Default for Handles<T, MOST> {
    fn default() -> Self {
        Handles { next: 0, entries: HashMap::default() }
    }
}

impl<T, const MOST: usize> Handles<T, MOST> {
    /// A handle for `entry`; `None` when the table is full.
    pub(crate) fn add(&mut self, entry: T) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        let handle = self.next;
        self.next += 1;
        self.entries.insert(handle, entry);
        Some(handle)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= MOST
    }

    /// Drops all entries that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_handle, entry| keep(entry));
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &T> {
        self.entries.values()
    }

    /// The next handle, and all that there are.
    pub(crate) fn handed(&self) -> (u64, impl Iterator<Item = (u64, &T)>) {
        (self.next, self.entries.iter().map(|(handle, entry)| (*handle, entry)))
    }

    /// A table as it was; `None` when there can't have been one like that.
    pub(crate) fn restored(next: u64, entries: impl IntoIterator<Item = (u64, T)>) -> Option<Self> {
        let entries: HashMap<_, _, _> = entries.into_iter().collect();
        let may_be = entries.len() <= MOST && entries.keys().all(|handle| *handle < next);
        may_be.then_some(Handles { next, entries })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, handle: u64) -> Option<&T> {
        self.entries.get(&handle)
    }

    pub(crate) fn get_mut(&mut self, handle: u64) -> Option<&mut T> {
        self.entries.get_mut(&handle)
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Option<T> {
        self.entries.remove(&handle)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn handles_count_from_0_are_given_once_and_end_at_a_bound() {
        let mut handles = Handles::<_, 100>::default();
        assert_eq!(handles.add("a"), Some(0));
        assert_eq!(handles.add("b"), Some(1));
        assert_eq!(handles.remove(1), Some("b"));
        assert_eq!(handles.remove(1), None);
        assert_eq!(handles.add("c"), Some(2), "what was dropped may still be named by its guest");
        assert_eq!(handles.get(0), Some(&"a"));
        assert_eq!(handles.get_mut(1), None);
        for _more in 2..100 {
            handles.add("x").unwrap();
        }
        assert_eq!(handles.add("one too many"), None);
        handles.remove(0).unwrap();
        assert!(handles.add("room again").is_some());
    }
}
