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
        let is_of = |it: &Self| it.from == from && it.meta == part.meta;
        match received {
            Some(it) if is_of(it) && it.bytes == part.at => {}
            // It has come twice.
            Some(it) if is_of(it) && end <= it.bytes => return Ok(Took::Part),
            _ if part.at == 0 => {
                *received = None;
                *received = Some(Self::begin(node, folder, from, part)?);
            }
            // One was lost, or this voter has begun anew.
            Some(it) if is_of(it) => return Ok(Took::Wanted(it.bytes)),
            _another_or_none => return Ok(Took::Wanted(0)),
        }
        let Some(it) = received else { return Ok(Took::Wanted(0)) };
        let path = it.path.clone();
        if let Err(error) = it.write(&part.bytes) {
            *received = None;
            // What there is of it is in the way of others on a full disk.
            let _there_or_not = std::fs::remove_file(&path);
            return Err(error.to_string());
        }
        let Some(whole) = part.whole else { return Ok(Took::Part) };
        let is_whole = finish(&it.digest) == whole;
        *received = None;
        if is_whole {
            Snapshot::received(&path, folder).map(Took::Whole).map_err(|error| error.to_string())
        } else {
            Err(format!("what {node} got is not what it was sent: it is sent again"))
        }
    }

    fn begin(node: &str, folder: &Path, from: DiskId, part: &Part) -> Result<Self, String> {
        let path = folder.join(RECEIVED);
        // One of before, which nobody goes on with.
        let _there_or_not = std::fs::remove_file(&path);
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
