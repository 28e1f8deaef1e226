//! Variables of a plug-in: bytes by name, for as long as its instance lives.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most that they may take together, in bytes: what Extism's runtime allows where its manifest says nothing.
const MAX_BYTES: usize = 1 << 20;
/// What each takes beside its name and its bytes, as that runtime counts: what a string and a vector are of.
const EACH_BYTES: usize = 48;
/// What each takes beside that: a place in a table that is twice as large as all of them now and then, and two pieces of the allocator's, which
/// are no smaller than 32 bytes.
const BESIDE_BYTES: usize = 128;

/// Variables by their names.
#[derive(Default)]
pub(super) struct Variables {
    all: HashMap<String, Vec<u8>, RandomState>,
    /// What they take together, as that runtime counts.
    bytes: usize,
    /// What of that the instance's memory was charged with.
    pub(super) charged: usize,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.all.get(name).map(Vec::as_slice)
    }

    /// What all of them would take of the host's memory with this one beside them; the one that it replaces counts, too, as with Extism's
    /// runtime. `None` when that is too much for that runtime.
    pub(super) fn with(&self, name: &str, length: usize) -> Option<usize> {
        let bytes = self.bytes.saturating_add(taken(name, length));
        let beside = self.all.len().saturating_add(1).saturating_mul(BESIDE_BYTES);
        (bytes <= MAX_BYTES).then_some(bytes.saturating_add(beside))
    }

    pub(super) fn set(&mut self, name: String, value: Vec<u8>) {
        self.remove(&name);
        self.bytes = self.bytes.saturating_add(taken(&name, value.len()));
        self.all.insert(name, value);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(value) = self.all.remove(name) {
            self.bytes = self.bytes.saturating_sub(taken(name, value.len()));
        }
    }
}

fn taken(name: &str, length: usize) -> usize {
    EACH_BYTES.saturating_add(name.len()).saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_variables_take_is_counted_when_they_come_and_when_they_go() {
        let mut variables = Variables::default();
        let half = MAX_BYTES / 2 - EACH_BYTES - 1;
        assert_eq!(variables.with("a", half), Some(MAX_BYTES / 2 + BESIDE_BYTES));
        variables.set("a".into(), vec![0; half]);
        assert_eq!(variables.with("b", half), Some(MAX_BYTES + 2 * BESIDE_BYTES));
        assert_eq!(variables.with("b", half + 1), None);
        variables.set("a".into(), vec![1; 7]);
        assert_eq!((variables.get("a"), variables.bytes), (Some(&[1; 7][..]), EACH_BYTES + 8));
        variables.remove("a");
        variables.remove("a");
        assert_eq!((variables.get("a"), variables.bytes), (None, 0));
    }
}
