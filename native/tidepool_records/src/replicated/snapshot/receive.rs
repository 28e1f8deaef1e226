//! A snapshot that comes from another voter, part by part.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use openraft::SnapshotMeta;

use super::{RECEIVED, Snapshot, find_room};
use crate::record::{StoreError, finish, hasher};
use crate::replicated::rpc::Part;
use crate::replicated::types::{DiskId, Member};

/// A snapshot that another voter sends.
pub(crate) struct Receiving {
    from: DiskId,
    meta: SnapshotMeta<DiskId, Member>,
    path: PathBuf,
    file: File,
    bytes: u64,
    digest: blake3::Hasher,
}

/// What came of a part.
pub(crate) enum Took {
    /// It was taken, or had been before.
    Part,
    /// It was the last one.
    Whole(Snapshot),
    /// Nothing: the part after so many bytes is wanted.
    Wanted(u64),
}

impl Receiving {
    /// Takes a part, which begins a snapshot or goes on with the one that is being received.
    ///
    /// # Errors
    /// Why the node has no room for all of them, or can't write this one; or that all of them are not what was sent: then it is to be sent
    /// from its beginning.
    pub(crate) fn take(
        received: &mut Option<Self>,
        (node, folder): (&str, &Path),
        from: DiskId,
        part: &Part,
    ) -> Result<Took, String> {
        let end = part.at.saturating_add(part.bytes.len() as u64);
        let is_of = |it: &&Self| it.from == from && it.meta == part.meta;
        match received.as_ref().filter(is_of).map(|it| it.bytes) {
            Some(bytes) if bytes == part.at => {}
            // It has come twice.
            Some(bytes) if end <= bytes => return Ok(Took::Part),
            _another_or_none if part.at == 0 => {
                // Its file, which has the same name, goes first.
                *received = None;
                *received = Some(Self::begin(node, folder, from, part)?);
            }
            // One was lost, or this voter has begun anew.
            there => return Ok(Took::Wanted(there.unwrap_or(0))),
        }
        let Some(mut it) = received.take() else { return Ok(Took::Wanted(0)) };
        it.write(&part.bytes).map_err(|error| error.to_string())?;
        let Some(whole) = part.whole else {
            *received = Some(it);
            return Ok(Took::Part);
        };
        if finish(&it.digest) == whole {
            Snapshot::received(&it.path, folder).map(Took::Whole).map_err(|error| error.to_string())
        } else {
            Err(format!("what {node} got is not what it was sent: it is sent again"))
        }
    }

    fn begin(node: &str, folder: &Path, from: DiskId, part: &Part) -> Result<Self, String> {
        let path = folder.join(RECEIVED);
        // The file, and the transaction by which it takes the place of what is there.
        find_room(folder, part.length.saturating_mul(2), node)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| StoreError::file(&path, &error).to_string())?;
        Ok(Receiving { from, meta: part.meta.clone(), path, file, bytes: 0, digest: hasher("snapshot") })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|error| StoreError::file(&self.path, &error))?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.digest.update(bytes);
        Ok(())
    }
}

impl Drop for Receiving {
    /// Its file is of no use without it, or has been opened, and would be in the way of others on a full disk.
    fn drop(&mut self) {
        let _there_or_not = std::fs::remove_file(&self.path);
    }
}
