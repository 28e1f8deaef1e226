//! Going on with what is left of records whose log is damaged, as somebody has decided.

use std::path::{Path, PathBuf};

use super::followed;
use super::log::{beside, lost};
use super::opened::Opened;
use crate::record::StoreError;

/// As [`Records::accept`](crate::Records::accept).
pub(crate) fn accept(path: &Path) -> Result<Option<String>, StoreError> {
    let path = &followed(path);
    let Some(lost) = lost(path)? else { return Ok(None) };
    keep(path)?;
    Opened::as_it_is(path)?.close();
    Ok(Some(lost))
}

/// Keeps the log, from which more may be had by hand.
fn keep(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, "-wal");
    let as_read = |error: std::io::Error| StoreError::file(&log, &error);
    if log.metadata().map_or(0, |log| log.len()) == 0 {
        return Ok(());
    }
    let kept = unused(path);
    std::fs::copy(&log, &kept).map_err(as_read)?;
    std::fs::File::open(&kept).and_then(|kept| kept.sync_all()).map_err(as_read)
}

/// A name that no file has.
fn unused(path: &Path) -> PathBuf {
    let mut name = beside(path, "-wal.torn");
    let mut number = 0_u64;
    while name.exists() {
        number = number.saturating_add(1);
        name = beside(path, &format!("-wal.torn.{number}"));
    }
    name
}
