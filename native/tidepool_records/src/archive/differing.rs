//! Records that several archives have, each another state: which these are, and those of one archive by themselves.

use std::collections::hash_map::{Entry as Known, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::reader::{Entry, Reader};
use super::{Moved, Writer};
use crate::record::{Key, StoreError, hasher};

/// What one of the archives has of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Which archive, from 0 on.
    pub archive: usize,
    /// The record's head.
    pub head: Vec<u8>,
    /// A digest of all else: its images, its values, and when its alarm is due.
    pub rest: [u8; 32],
}

/// The records with a class that are in several archives, and are not the same there byte by byte: each with what the archives have of it.
/// It takes the memory of all records' names.
///
/// # Errors
/// As for an import.
pub fn differing(archives: &[PathBuf]) -> Result<BTreeMap<Key, Vec<State>>, StoreError> {
    let mut known = HashMap::new();
    let mut differing: BTreeMap<Key, Vec<State>> = BTreeMap::new();
    for path in archives {
        digested(path, |key, head, rest| {
            let whole = hasher("a record of an archive").update(&head).update(rest.as_bytes()).finalize();
            match known.entry(key) {
                Known::Occupied(entry) if *entry.get() != whole => {
                    differing.entry(entry.key().clone()).or_default();
                }
                Known::Occupied(_same) => {}
                Known::Vacant(entry) => {
                    entry.insert(whole);
                }
            }
        })?;
    }
    drop(known);
    for (archive, path) in archives.iter().enumerate() {
        if differing.is_empty() {
            break;
        }
        digested(path, |key, head, rest| {
            if let Some(states) = differing.get_mut(&key) {
                states.push(State { archive, head, rest: *rest.as_bytes() });
            }
        })?;
    }
    Ok(differing)
}

/// Calls `each` with each record that has a class, its head, and the digest of all else.
fn digested(path: &Path, mut each: impl FnMut(Key, Vec<u8>, blake3::Hash)) -> Result<(), StoreError> {
    let mut reader = Reader::open(path)?;
    let mut at: Option<(Key, Vec<u8>, blake3::Hasher)> = None;
    loop {
        let entry = reader.next()?;
        if !matches!(entry, Entry::Value(..))
            && let Some((key, head, rest)) = at.take()
        {
            each(key, head, rest.finalize());
        }
        match entry {
            Entry::Record { key, alarm_at, head, images } => {
                let mut rest = hasher("the rest of a record of an archive");
                rest.update(&[u8::from(alarm_at.is_some())]).update(&alarm_at.unwrap_or_default().to_le_bytes());
                rest.update(&(images.len() as u64).to_le_bytes());
                for image in &images {
                    part(&mut rest, image);
                }
                at = (!key.class.is_empty()).then_some((key, head, rest));
            }
            Entry::Value(key, value) => {
                if let Some((_key, _head, rest)) = &mut at {
                    part(rest, &key);
                    part(rest, &value);
                }
            }
            Entry::End(_all) => return Ok(()),
        }
    }
}

/// With its length: no two lists of parts are alike.
fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

/// Writes some records of an archive into one of their own, with all of it that have no class. There is no file before.
///
/// # Errors
/// [`StoreError::Taken`] when there is such a file; as for an import; what the system says.
pub fn part_of(archive: &Path, keys: &BTreeSet<Key>, to: &Path) -> Result<Moved, StoreError> {
    let mut from = Reader::open(archive)?;
    let mut to = Writer::create(to, false)?;
    let mut skips = false;
    loop {
        match from.next()? {
            Entry::Record { key, alarm_at, head, images } => {
                skips = !key.class.is_empty() && !keys.contains(&key);
                if !skips {
                    to.record(&key, alarm_at, &head, &images)?;
                }
            }
            Entry::Value(key, value) if !skips => to.value(&key, &value)?,
            Entry::Value(..) => {}
            Entry::End(_all) => return to.finish(),
        }
    }
}
