//! Which files of compiled code there are on disk: whose, how large, when they were used last, and which goes when there are too many bytes.

use std::collections::HashMap;
use std::time::SystemTime;

/// Bytes by which an owner is told from others.
pub(super) const OWNER_BYTES: usize = 16;

/// Whose a file is: a namespace, or all functions that have none.
pub(super) type Owner = [u8; OWNER_BYTES];

/// A namespace, or the empty text, as an owner.
pub(super) fn owner(namespace: &str) -> Owner {
    blake3::hash(namespace.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}

/// A file of compiled code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) owner: Owner,
    pub(super) bytes: u64,
    pub(super) used: SystemTime,
}

/// All of them, by their names.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    files: HashMap<String, Kept>,
    bytes: u64,
}

impl KeptFiles {
    /// One more, or one that was used again.
    pub(super) fn insert(&mut self, name: String, kept: Kept) {
        self.bytes = self.bytes.saturating_add(kept.bytes);
        if let Some(before) = self.files.insert(name, kept) {
            self.bytes = self.bytes.saturating_sub(before.bytes);
        }
    }

    /// One that is gone.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(kept) = self.files.remove(name) {
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
    }

    /// What has to go so that there are no more than so many bytes: of the owner that has the most what it has used longest ago.
    pub(super) fn next_to_go(&self, max_bytes: u64) -> Option<String> {
        if self.bytes <= max_bytes {
            return None;
        }
        let mut by_owner: HashMap<&Owner, u64> = HashMap::new();
        for kept in self.files.values() {
            let all = by_owner.entry(&kept.owner).or_default();
            *all = all.saturating_add(kept.bytes);
        }
        let (whose, _bytes) = by_owner.into_iter().max_by_key(|(owner, bytes)| (*bytes, *owner))?;
        let of_owner = self.files.iter().filter(|(_name, kept)| kept.owner == *whose);
        of_owner.min_by_key(|(name, kept)| (kept.used, *name)).map(|(name, _kept)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kept(namespace: &str, bytes: u64, used_s: u64) -> Kept {
        Kept { owner: owner(namespace), bytes, used: SystemTime::UNIX_EPOCH + Duration::from_secs(used_s) }
    }

    #[test]
    fn what_goes_is_the_oldest_of_the_namespace_that_has_the_most() {
        let mut files = KeptFiles::default();
        files.insert("blog 1".into(), kept("blog", 30, 1));
        files.insert("shop 2".into(), kept("shop", 20, 2));
        files.insert("shop 3".into(), kept("shop", 20, 3));
        files.insert("one".into(), kept("", 10, 0));
        assert_eq!(files.next_to_go(80), None);
        assert_eq!(files.next_to_go(79).as_deref(), Some("shop 2"));
        files.remove("shop 2");
        assert_eq!(files.next_to_go(59).as_deref(), Some("blog 1"));
        files.insert("shop 3".into(), kept("shop", 40, 4));
        assert_eq!(files.next_to_go(79).as_deref(), Some("shop 3"), "it is counted once");
        assert_eq!(files.next_to_go(80), None);
    }
}
