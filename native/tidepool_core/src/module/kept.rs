//! Which files of compiled code there are on disk: whose, how large, when they were used last, and which goes when there are too many bytes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
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

/// The name of a file.
pub(super) type FileName = Arc<str>;

/// All of them, by their names. What goes next is found without a look at the others: all compiles wait for who looks.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    files: HashMap<FileName, Kept>,
    owners: HashMap<Owner, Owned>,
    /// Owners by how much they have.
    by_bytes: BTreeSet<(u64, Owner)>,
    bytes: u64,
}

/// Those of one owner.
#[derive(Debug, Default)]
struct Owned {
    bytes: u64,
    /// By when they were used last.
    by_use: BTreeSet<(SystemTime, FileName)>,
}

impl KeptFiles {
    /// One more, or one that was used again.
    pub(super) fn insert(&mut self, name: FileName, kept: Kept) {
        self.remove(&name);
        self.bytes = self.bytes.saturating_add(kept.bytes);
        self.change(kept.owner, |owned| {
            owned.bytes = owned.bytes.saturating_add(kept.bytes);
            owned.by_use.insert((kept.used, Arc::clone(&name)));
        });
        self.files.insert(name, kept);
    }

    /// One that is gone.
    pub(super) fn remove(&mut self, name: &str) -> Option<(FileName, Kept)> {
        let (name, kept) = self.files.remove_entry(name)?;
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        self.change(kept.owner, |owned| {
            owned.bytes = owned.bytes.saturating_sub(kept.bytes);
            owned.by_use.remove(&(kept.used, Arc::clone(&name)));
        });
        Some((name, kept))
    }

    /// Those that could not be removed, unless they were written anew meanwhile.
    pub(super) fn put_back(&mut self, files: impl Iterator<Item = (FileName, Kept)>) {
        for (name, kept) in files {
            if !self.files.contains_key(&name) {
                self.insert(name, kept);
            }
        }
    }

    /// Takes out what has to go so that there are no more than so many bytes: one after the other, of the owner that has the most what
    /// it has used longest ago.
    pub(super) fn take_beyond(&mut self, max_bytes: u64) -> Vec<(FileName, Kept)> {
        let mut taken = Vec::new();
        while self.bytes > max_bytes
            && let Some(name) = self.next_to_go()
            && let Some(file) = self.remove(&name)
        {
            taken.push(file);
        }
        taken
    }

    fn next_to_go(&self) -> Option<FileName> {
        let (_bytes, owner) = self.by_bytes.last()?;
        let (_used, name) = self.owners.get(owner)?.by_use.first()?;
        Some(Arc::clone(name))
    }

    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut Owned)) {
        let owned = self.owners.entry(owner).or_default();
        self.by_bytes.remove(&(owned.bytes, owner));
        change(owned);
        if owned.by_use.is_empty() {
            self.owners.remove(&owner);
        } else {
            self.by_bytes.insert((owned.bytes, owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn kept(namespace: &str, bytes: u64, used_s: u64) -> Kept {
        Kept { owner: owner(namespace), bytes, used: SystemTime::UNIX_EPOCH + Duration::from_secs(used_s) }
    }

    /// What goes of them.
    fn gone(files: &mut KeptFiles, max_bytes: u64) -> Vec<String> {
        files.take_beyond(max_bytes).into_iter().map(|(name, _kept)| name.to_string()).collect()
    }

    #[test]
    fn what_goes_is_the_oldest_of_the_namespace_that_has_the_most() {
        let mut files = KeptFiles::default();
        files.insert("blog 1".into(), kept("blog", 30, 1));
        files.insert("shop 2".into(), kept("shop", 20, 2));
        files.insert("shop 3".into(), kept("shop", 20, 3));
        files.insert("one".into(), kept("", 10, 0));
        assert!(gone(&mut files, 80).is_empty());
        assert_eq!(gone(&mut files, 79), ["shop 2"]);
        assert_eq!(gone(&mut files, 59), ["blog 1"]);
        files.insert("shop 3".into(), kept("shop", 40, 4));
        assert_eq!(gone(&mut files, 49), ["shop 3"], "it is counted once");
        assert!(gone(&mut files, 10).is_empty());
        files.insert("shop 5".into(), kept("shop", 20, 5));
        files.put_back([("shop 3".into(), kept("shop", 40, 4)), ("shop 5".into(), kept("shop", 1, 0))].into_iter());
        assert_eq!(gone(&mut files, 30), ["shop 3"], "what could not be removed goes first again");
        assert_eq!(gone(&mut files, 0), ["shop 5", "one"]);
    }

    /// A namespace has filled the cache with code of next to nothing, and now has some that takes a fifth of it. Each that goes for that
    /// was looked for among all others, under the lock that each compile takes: 20,000 times 100,000 looks.
    #[test]
    fn a_large_file_has_many_small_ones_go_in_a_moment_however_many_others_there_are() {
        const FILES: u64 = 100_000;
        let mut files = KeptFiles::default();
        for number in 0..FILES {
            files.insert(format!("{number}").into(), kept("shop", 10, number));
        }
        files.insert("large".into(), kept("shop", FILES * 2, FILES));
        let begun = Instant::now();
        assert_eq!(files.take_beyond(FILES * 10).len(), 20_000);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
