//! What is in a folder, as a stream of its entries.

use wasmtime_wasi::p2::bindings::filesystem::types::DirectoryEntry;

use super::codes;
use crate::process::bounds::account::Share;
use crate::process::files::memory::Listed;

/// What an entry takes beside its name.
const ENTRY_BYTES: usize = 64;

/// Entries that have not been read. They count in the program's account.
pub(super) struct Listing {
    left: std::vec::IntoIter<Listed>,
    _share: Share,
}

impl Listing {
    /// `None` when the program has no room for it.
    pub(super) fn new(entries: Vec<Listed>, mut share: Share) -> Option<Self> {
        let bytes = entries.iter().map(|entry| entry.name.len() + ENTRY_BYTES).sum();
        share.hold(bytes).then(|| Listing { left: entries.into_iter(), _share: share })
    }
}

impl Iterator for Listing {
    type Item = DirectoryEntry;

    fn next(&mut self) -> Option<DirectoryEntry> {
        let entry = self.left.next()?;
        Some(DirectoryEntry { type_: codes::kind(entry.is_folder), name: entry.name })
    }
}
