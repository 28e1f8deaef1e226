//! Handles: the numbers by which a guest names what its host keeps for it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most entries of one table, where nothing else is said: a guest that drops nothing is stopped.
pub(super) const MAX_HANDLES: usize = 100_000;
/// Places that a table keeps, however few entries are left in it.
const MIN_PLACES: usize = 64;

/// What a table keeps.
pub(crate) trait HeapSize {
    /// Bytes that it takes on the host beside itself.
    fn heap_bytes(&self) -> usize;
}

/// A table of handles of one kind, of `MOST` at a time. They count from 0, and none is given twice.
pub(crate) struct Handles<T, const MOST: usize = MAX_HANDLES> {
    next: u64,
    entries: HashMap<u64, T, RandomState>,
    /// What its entries take beside their places.
    heap_bytes: usize,
}

impl<T, const MOST: usize> Default for Handles<T, MOST> {
    fn default() -> Self {
        Handles { next: 0, entries: HashMap::default(), heap_bytes: 0 }
    }
}

impl<T: HeapSize, const MOST: usize> Handles<T, MOST> {
    /// Of an entry in a map that is half full.
    const PLACE_BYTES: usize = 2 * (size_of::<(u64, T)>() + 1);

    /// What the table takes on the host.
    pub(crate) fn bytes(&self) -> usize {
        self.heap_bytes + self.entries.len() * Self::PLACE_BYTES
    }

    /// What it would take more with this entry.
    pub(crate) fn bytes_of(entry: &T) -> usize {
        Self::PLACE_BYTES + entry.heap_bytes()
    }

    /// A handle for `entry`; `None` when the table is full.
    pub(crate) fn add(&mut self, entry: T) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        let handle = self.next;
        self.next += 1;
        self.heap_bytes += entry.heap_bytes();
        self.entries.insert(handle, entry);
        Some(handle)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= MOST
    }

    /// Drops all entries that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_handle, entry| keep(entry));
        self.shrink();
        self.heap_bytes = self.entries.values().map(HeapSize::heap_bytes).sum();
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
        let heap_bytes = entries.values().map(HeapSize::heap_bytes).sum();
        may_be.then_some(Handles { next, entries, heap_bytes })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, handle: u64) -> Option<&T> {
        self.entries.get(&handle)
    }

    /// Changes an entry, which may take another amount then.
    pub(crate) fn change<R>(&mut self, handle: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let entry = self.entries.get_mut(&handle)?;
        let before = entry.heap_bytes();
        let changed = change(entry);
        self.heap_bytes = self.heap_bytes - before + entry.heap_bytes();
        Some(changed)
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Option<T> {
        let entry = self.entries.remove(&handle)?;
        self.heap_bytes -= entry.heap_bytes();
        self.shrink();
        Some(entry)
    }

    /// Gives places back that are of no use any more.
    fn shrink(&mut self) {
        let wanted = self.entries.len().saturating_mul(2);
        if self.entries.capacity() / 2 > wanted.max(MIN_PLACES) {
            self.entries.shrink_to(wanted);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    impl HeapSize for &'static str {
        fn heap_bytes(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn a_table_knows_what_its_entries_take_whatever_becomes_of_them() {
        let mut handles = Handles::<&str>::default();
        let place = Handles::<&str>::PLACE_BYTES;
        for _each in 0..10_000 {
            handles.add("four").unwrap();
        }
        assert_eq!(handles.bytes(), 10_000 * (place + 4));
        assert_eq!(handles.change(9_999, |entry| std::mem::replace(entry, "seven!!")), Some("four"));
        assert_eq!(handles.bytes(), 10_000 * (place + 4) + 3);
        for handle in 0..9_999 {
            handles.remove(handle).unwrap();
        }
        assert_eq!(handles.bytes(), place + 7);
        assert!(handles.entries.capacity() < 1_000, "places of what is gone are given back");
        let (next, entries) = handles.handed();
        let restored = Handles::<&str>::restored(next, entries.map(|(handle, entry)| (handle, *entry)));
        assert_eq!(restored.map(|handles| handles.bytes()), Some(place + 7));
        handles.retain(|entry| entry.len() < 7);
        assert_eq!(handles.bytes(), 0);
    }

    #[test]
    fn handles_count_from_0_are_given_once_and_end_at_a_bound() {
        let mut handles = Handles::<_, 100>::default();
        assert_eq!(handles.add("a"), Some(0));
        assert_eq!(handles.add("b"), Some(1));
        assert_eq!(handles.remove(1), Some("b"));
        assert_eq!(handles.remove(1), None);
        assert_eq!(handles.add("c"), Some(2), "what was dropped may still be named by its guest");
        assert_eq!(handles.get(0), Some(&"a"));
        assert_eq!(handles.change(1, |_entry| ()), None);
        for _more in 2..100 {
            handles.add("x").unwrap();
        }
        assert_eq!(handles.add("one too many"), None);
        handles.remove(0).unwrap();
        assert!(handles.add("room again").is_some());
    }
}
