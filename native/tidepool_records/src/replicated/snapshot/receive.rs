//! A snapshot that comes from another voter, part by part.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use openraft::SnapshotMeta;

use super::{RECEIVED, Snapshot};
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

impl Receiving {
    /// Takes a part, which begins a snapshot or goes on with the one that is being received. What is whole then, if that was the last.
    ///
    /// # Errors
    /// When it does not go on with what there is, can't be written, or is not what was sent: then it is to be sent from its beginning.
    pub(crate) fn take(
        received: &mut Option<Self>,
        folder: &Path,
        from: DiskId,
        part: &Part,
    ) -> Result<Option<Snapshot>, StoreError> {
        let end = part.at.saturating_add(part.bytes.len() as u64);
        match received {
            Some(it) if it.from == from && it.meta == part.meta && it.bytes == part.at => {}
            // It has come twice.
            Some(it) if it.from == from && it.meta == part.meta && end <= it.bytes => return Ok(None),
            _ if part.at == 0 => *received = Some(Self::begin(folder, from, part.meta.clone())?),
            _ => return Err(StoreError::Torn("a part of a snapshot".into())),
        }
        let Some(it) = received else { return Ok(None) };
        if let Err(error) = it.write(&part.bytes) {
            *received = None;
            return Err(error);
        }
        let Some(whole) = part.whole else { return Ok(None) };
        let is_whole = finish(&it.digest) == whole;
        let path = it.path.clone();
        *received = None;
        if is_whole { Snapshot::received(&path, folder).map(Some) } else { Err(StoreError::Torn("a snapshot".into())) }
    }

    fn begin(folder: &Path, from: DiskId, meta: SnapshotMeta<DiskId, Member>) -> Result<Self, StoreError> {
        let path = folder.join(RECEIVED);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| StoreError::file(&path, &error))?;
        Ok(Receiving { from, meta, path, file, bytes: 0, digest: hasher("snapshot") })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|error| StoreError::file(&self.path, &error))?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.digest.update(bytes);
        Ok(())
    }
}
