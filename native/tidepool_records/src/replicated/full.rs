//! A disk that is full: what is to be written waits for room. An error would be the end of Raft.

use std::time::Duration;

use crate::record::StoreError;

/// How long it waits before it tries again.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Is it for want of room? SQLite says of the index of its log alone that it can't be written.
pub(super) fn is_full(error: &StoreError) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE};
    match error {
        StoreError::Full => true,
        StoreError::Sqlite(why) => why.sqlite_error().is_some_and(|why| {
            [SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE].contains(&why.extended_code)
        }),
        _other => false,
    }
}

/// What `write` comes to once there is room; `told` hears whether there is none each time.
///
/// # Errors
/// Any but for want of room.
pub(super) async fn with_room<T>(
    mut write: impl FnMut() -> Result<T, StoreError>,
    told: impl Fn(bool),
) -> Result<T, StoreError> {
    loop {
        let written = write();
        let is_full = written.as_ref().err().is_some_and(is_full);
        told(is_full);
        if !is_full {
            return written;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
