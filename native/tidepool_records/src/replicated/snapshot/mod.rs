//! All that was applied up to an entry, as one database; and on its way from voter to voter, as a file in parts.

mod receive;
mod sends;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, MAIN_DB};
use tokio::task::JoinError;

pub(super) use self::receive::{Receiving, Took};
pub(super) use self::sends::{Sends, Transfer};
use crate::record::{StoreError, hasher};
use crate::sqlite::readable;

/// The files that a snapshot comes to, and that it is sent from.
const RECEIVED: &str = "snapshot.received";
const SENT: &str = "snapshot.sent";

/// Room that is left for what others write meanwhile: at least, and where more is kept for a voter that gets a snapshot.
const SPARE_BYTES: u64 = 16 << 20;
const HELD_ROOM: u64 = 1 << 30;

/// A connection that goes on seeing what there was when it was made, whatever is applied later.
pub(crate) struct Snapshot {
    connection: Mutex<Connection>,
    folder: PathBuf,
}

impl Snapshot {
    /// Of a file, as it is at this moment. Its log can't be put into the file for as long as it is held.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = readable(path)?;
        connection.execute_batch("BEGIN")?;
        // The first read is what begins it.
        connection.query_row("SELECT count(*) FROM applied", [], |row| row.get::<_, i64>(0))?;
        let folder = path.parent().unwrap_or(Path::new("")).into();
        Ok(Snapshot { connection: Mutex::new(connection), folder })
    }

    /// Of a file that was received, which needs no name from then on.
    ///
    /// # Errors
    /// When it is no snapshot.
    fn received(path: &Path, folder: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        // Who loses power receives it again.
        connection.pragma_update(None, "synchronous", "off")?;
        connection.pragma_update(None, "journal_mode", "memory")?;
        connection.query_row("SELECT count(*) FROM applied", [], |row| row.get::<_, i64>(0))?;
        Ok(Snapshot { connection: Mutex::new(connection), folder: folder.into() })
    }

    /// An empty one.
    ///
    /// # Errors
    /// When SQLite has no temporary file.
    pub(crate) fn empty() -> Result<Self, StoreError> {
        Ok(Snapshot { connection: Mutex::new(Connection::open("")?), folder: PathBuf::new() })
    }

    /// Has it replace all that a database has, in one transaction, with what `note` writes to it before.
    ///
    /// # Errors
    /// When something can't be read or written: then the database is as it was.
    pub(crate) fn replace(
        &self,
        all_of: &mut Connection,
        note: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_readonly(MAIN_DB)? {
            note(&connection)?;
            return copy(&connection, all_of);
        }
        let mut own = Connection::open("")?;
        copy(&connection, &mut own)?;
        note(&own)?;
        copy(&own, all_of)
    }

    /// Copies it into a file that has no name, and is gone with what is returned. It needs as much room again, and as much is to be left
    /// beside it, but no more than a GiB: it is there for as long as it is sent.
    ///
    /// # Errors
    /// Why it can't be read or written, or that there is not that room.
    pub(crate) fn parts(&self, bytes: usize) -> Result<Parts, String> {
        let pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let whole =
            self.connection.lock().unwrap_or_else(PoisonError::into_inner).query_row(pages, [], |row| row.get(0));
        find_room(&self.folder, with_spare(whole.map_err(|error| error.to_string())?), "the node that leads")?;
        self.copied(bytes).map_err(|error| error.to_string())
    }

    fn copied(&self, bytes: usize) -> Result<Parts, StoreError> {
        let path = self.folder.join(format!("{SENT}.{:016x}", fresh()?));
        let copied = (|| {
            let mut to = Connection::open(&path)?;
            // Who loses power sends it again.
            to.pragma_update(None, "synchronous", "off")?;
            to.pragma_update(None, "journal_mode", "off")?;
            copy(&self.connection.lock().unwrap_or_else(PoisonError::into_inner), &mut to)?;
            to.close().map_err(|(_open, error)| error)?;
            File::open(&path).map_err(|error| StoreError::file(&path, &error))
        })();
        let _there_or_not = std::fs::remove_file(&path);
        let file = copied?;
        let length = file.metadata().map_err(|error| StoreError::file(&path, &error))?.len();
        Ok(Parts { file, path, length, left: length, bytes })
    }
}

/// Copies all, in one transaction.
fn copy(from: &Connection, to: &mut Connection) -> Result<(), StoreError> {
    Ok(Backup::new(from, to)?.run_to_completion(i32::MAX, Duration::ZERO, None)?)
}

/// Has a thread of its own read or write a file as a whole. In a test that is done at once: the simulation has one thread.
///
/// # Errors
/// When it has panicked.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if cfg!(test) { Ok(work()) } else { tokio::task::spawn_blocking(work).await }
}

/// A number that nothing else has.
///
/// # Errors
/// When there is no randomness.
pub(crate) fn fresh() -> Result<u64, StoreError> {
    getrandom::u64().map_err(|error| StoreError::Stopped(format!("there is no randomness: {error}").into()))
}

/// A snapshot, part by part.
pub(crate) struct Parts {
    file: File,
    path: PathBuf,
    length: u64,
    left: u64,
    bytes: usize,
}

impl Parts {
    /// Bytes of all of them.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Has the part after so many bytes be the next one.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn go_to(&mut self, at: u64) -> Result<(), StoreError> {
        self.file.seek(SeekFrom::Start(at)).map_err(|error| StoreError::file(&self.path, &error))?;
        self.left = self.length.saturating_sub(at);
        Ok(())
    }

    /// The same, with the digest of what is before it, which is read again.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn go_back(mut self, at: u64) -> Result<(Self, blake3::Hasher), StoreError> {
        let mut digest = hasher("snapshot");
        let read = self.file.rewind().and_then(|()| std::io::copy(&mut (&mut self.file).take(at), &mut digest));
        read.map_err(|error| StoreError::file(&self.path, &error))?;
        self.go_to(at)?;
        Ok((self, digest))
    }

    /// The next part, and whether it is the last.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn read(&mut self) -> Result<(Vec<u8>, bool), StoreError> {
        let mut bytes = Vec::new();
        let part = (&mut self.file).take(self.bytes as u64).read_to_end(&mut bytes);
        part.map_err(|error| StoreError::file(&self.path, &error))?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Ok((bytes, self.left == 0))
    }
}

/// The bytes of a copy, and of what is to be left beside it.
fn with_spare(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.min(HELD_ROOM))
}

/// Has a disk room for what is written, and for what is kept for a voter that gets a snapshot?
pub(crate) fn has_room_to_keep(folder: &Path) -> bool {
    free(folder).is_ok_and(|free| free >= HELD_ROOM)
}

fn free(folder: &Path) -> Result<u64, StoreError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| StoreError::file(folder, &error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Is there room for so many bytes on the disk of a node?
///
/// # Errors
/// That there is not, and how much there is.
fn find_room(folder: &Path, bytes: u64, node: &str) -> Result<(), String> {
    let free = free(folder).map_err(|error| error.to_string())?;
    if bytes.saturating_add(SPARE_BYTES) <= free {
        return Ok(());
    }
    Err(format!(
        "a copy of all records needs {} MiB on the disk of {node}, which has {} MiB left: make room, and it goes on by itself",
        bytes.div_ceil(1 << 20),
        free >> 20
    ))
}

/// Removes what a voter that was killed has left of snapshots.
///
/// # Errors
/// When the folder can't be read.
pub(crate) fn remove_left(folder: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(folder).map_err(|error| StoreError::file(folder, &error))? {
        let entry = entry.map_err(|error| StoreError::file(folder, &error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(RECEIVED) || name.starts_with(SENT)) {
            let _there_or_not = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_copy_there_is_to_be_as_much_room_again_up_to_a_gib() {
        assert_eq!([0, 100 << 20, 1 << 30, 1 << 40].map(with_spare), [0, 200 << 20, 2 << 30, (1 << 40) + (1 << 30)]);
    }
}
