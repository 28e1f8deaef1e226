//! Is all in the log that an answer depended on? Asked before SQLite reads it, which takes what is there for all that there was.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::wal::{self, Log};
use crate::record::StoreError;

/// A log whose owner is at work is looked at so many times, until it is the same twice.
const LOOKS: usize = 16;
const CHUNK: usize = 1 << 20;

/// Of a commit that was never answered some frames may be there, its last one as well. Of two commits the first was answered.
const ANSWERED: u32 = 2;

/// A file beside the records.
pub(crate) fn beside(records: &Path, suffix: &str) -> PathBuf {
    let mut name = records.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// # Errors
/// [`StoreError::Behind`] when the records would be older than what was answered; when they can't be read.
pub(crate) fn check(records: &Path) -> Result<(), StoreError> {
    match lost(records)? {
        None => Ok(()),
        Some(lost) => Err(StoreError::Behind(lost.into())),
    }
}

/// What is missing; `None` when nothing is that could be known. A log that is gone, or ends early, is nothing that can be told from one
/// that SQLite has put into the file, or has begun anew.
///
/// # Errors
/// When it can't be read.
pub(crate) fn lost(records: &Path) -> Result<Option<String>, StoreError> {
    let path = beside(records, "-wal");
    let mut before = None;
    for _look in 0..LOOKS {
        let found = wal::read(&path).map_err(|error| StoreError::file(&path, &error))?;
        // SQLite removes a log without a file.
        if found.is_there && records.metadata().map_or(0, |file| file.len()) == 0 {
            return Ok(Some("the file of the records is gone, and their log is there".into()));
        }
        let Some(lost) = missing(&found) else { return Ok(None) };
        if before.as_ref() == Some(&found) {
            return Ok(Some(lost));
        }
        before = Some(found);
    }
    // Somebody writes all the time, who has looked before.
    Ok(None)
}

fn missing(log: &Log) -> Option<String> {
    let (whole, lost) = (log.frames, log.lost);
    (lost >= ANSWERED).then(|| match log.salts {
        None => "the log's header is damaged, and SQLite would take none of it".into(),
        Some(_) => format!("the log is damaged behind page {whole}, and {lost} commits or more come after that"),
    })
}

/// Has the log flushed, whoever writes to it: all that was committed before is on the disk then.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn flush(records: &Path) -> Result<(), StoreError> {
    let path = beside(records, "-wal");
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|log| log.sync_data())
        .map_err(|error| StoreError::file(&path, &error))
}

/// Has the log written once more, as it is, and flushed. After a flush that failed, what it should have written passes for written,
/// and can be read as long as the system does not need the room: what is believed of it is to be on the disk.
///
/// Nobody may write to it meanwhile.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn written_again(records: &Path) -> Result<(), StoreError> {
    let path = beside(records, "-wal");
    let again = || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let (mut chunk, mut at) = (vec![0; CHUNK], 0);
        loop {
            let read = file.read_at(&mut chunk, at)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            file.write_all_at(bytes, at)?;
            at = at.saturating_add(read as u64);
        }
        file.sync_data()
    };
    again().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::file(&path, &error),
    })
}
