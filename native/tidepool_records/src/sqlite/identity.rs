//! Which file a path is of.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Which file a path is of; `None` when there is none. The number of one that was removed may be that of another later, which was made
/// at another time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64, Option<SystemTime>)>);

impl Identity {
    pub(super) fn of(path: &Path) -> Self {
        Identity(path.metadata().ok().map(|file| (file.dev(), file.ino(), file.created().ok())))
    }
}
