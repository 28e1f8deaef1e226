//! Archives that are read one after the other, as one.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use super::Moved;
use super::reader::{Entry, Reader};
use crate::record::{Key, StoreError};

/// An archive, and the records of it that are left out.
pub type Part = (PathBuf, BTreeSet<Key>);

/// Archives, as one. A record that one of them had is not read again from a later one.
pub(crate) struct Source {
    /// Those that are not read to their end, the next one last, each with what is left out of it.
    left: Vec<(Reader, BTreeSet<Key>)>,
    /// What was in the one that is being read.
    found: Moved,
    moved: Moved,
    /// The records that were read; one archive has none twice.
    seen: Option<HashSet<Key>>,
    /// Is the record left out that is being read?
    skips: bool,
}

impl Source {
    /// Opens all of them. Each is whole by then.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub(crate) fn open(parts: Vec<Part>) -> Result<Self, StoreError> {
        let seen = (parts.len() > 1).then(HashSet::new);
        let opened =
            parts.into_iter().rev().map(|(path, left_out)| Reader::open(&path).map(|reader| (reader, left_out)));
        let left = opened.collect::<Result<Vec<_>, _>>()?;
        Ok(Source { left, found: Moved::default(), moved: Moved::default(), seen, skips: false })
    }

    /// The next entry. Nothing is to be read after the end, which has the sum of all.
    ///
    /// # Errors
    /// As for [`Reader::next`].
    pub(crate) fn next(&mut self) -> Result<Entry, StoreError> {
        loop {
            let Some((reader, left_out)) = self.left.last_mut() else { return Ok(Entry::End(self.moved)) };
            match reader.next()? {
                Entry::Record { key, alarm_at, head, images } => {
                    self.found.count(&key.class);
                    // One that is left out here may be read from a later one.
                    self.skips =
                        left_out.contains(&key) || self.seen.as_mut().is_some_and(|seen| !seen.insert(key.clone()));
                    if !self.skips {
                        self.moved.count(&key.class);
                        return Ok(Entry::Record { key, alarm_at, head, images });
                    }
                }
                Entry::Value(key, value) if !self.skips => return Ok(Entry::Value(key, value)),
                Entry::Value(..) => {}
                Entry::End(all) if all == self.found => {
                    self.found = Moved::default();
                    self.left.pop();
                }
                Entry::End(_other) => return Err(reader.torn()),
            }
        }
    }
}
