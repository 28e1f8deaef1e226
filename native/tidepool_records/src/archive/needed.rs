//! Which records without a class others need.

use std::collections::BTreeMap;

/// Bytes of the hashes, in hexadecimal digits, that records without a class are named after.
const HASH: usize = 64;

/// Records without a class are named after a hash, and whoever needs one has that in its head.
pub(crate) struct Needed(BTreeMap<Vec<u8>, bool>);

impl Needed {
    /// Of those that there are, by their names, nobody needs any yet.
    pub(crate) fn of(names: impl IntoIterator<Item = String>) -> Self {
        Needed(names.into_iter().map(|name| (name.into_bytes(), false)).collect())
    }

    /// Notes those that a head names.
    pub(crate) fn look(&mut self, head: &[u8]) {
        for word in head.windows(HASH).filter(|word| word.iter().all(u8::is_ascii_hexdigit)) {
            if let Some(needed) = self.0.get_mut(word) {
                *needed = true;
            }
        }
    }

    /// The names of those that are needed.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        self.0.into_iter().filter(|(_name, needed)| *needed).filter_map(|(name, _)| String::from_utf8(name).ok())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_head_is_needed_wherever_it_is_and_whatever_is_beside_it() {
        let names: Vec<String> = ["a", "b", "c", "d"].iter().map(|digit| digit.repeat(HASH)).collect();
        let mut needed = Needed::of(names.clone());
        needed.look(&[b"\x83m\0\0\0@", "a".repeat(HASH).as_bytes(), b"a\x05"].concat());
        needed.look(&[b"0", "b".repeat(HASH).as_bytes()].concat());
        needed.look("c".repeat(HASH - 1).as_bytes());
        needed.look(b"");
        assert_eq!(needed.names().collect::<Vec<_>>(), names[..2]);
    }
}
