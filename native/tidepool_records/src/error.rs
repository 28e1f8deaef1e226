//! Why something could not be read or written.

use std::sync::Arc;

use crate::key::Key;

/// Why something could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Who writes has been replaced.
    #[error("{key} is of epoch {stored} by now, and this change of epoch {epoch}: it has another owner")]
    Fenced {
        /// Whose record it is.
        key: Key,
        /// The change's epoch.
        epoch: u64,
        /// The record's.
        stored: u64,
    },
    /// The change does not follow what there is.
    #[error("{key} has had {stored} changes, and this is number {seq}")]
    OutOfOrder {
        /// Whose record it is.
        key: Key,
        /// The change's number.
        seq: u64,
        /// The record's.
        stored: u64,
    },
    /// An image can't follow those that there are.
    #[error("{key} has {links} images: the next one has to be a whole one")]
    Chain {
        /// Whose record it is.
        key: Key,
        /// How many images it has.
        links: usize,
    },
    /// What was read is not what was written.
    #[error("{what} of {key} is damaged: restore the file of records from a backup")]
    Damaged {
        /// Whose record it is, or was asked for.
        key: Key,
        /// What of it.
        what: &'static str,
    },
    /// SQLite can't read the file.
    #[error("the file of records is damaged: {0}")]
    Corrupt(Arc<rusqlite::Error>),
    /// A later version wrote the file.
    #[error("the file of records has format {found}, and this version reads {known}: start a newer one")]
    Newer {
        /// The file's format.
        found: i64,
        /// The one that is known.
        known: i64,
    },
    /// The disk is full. Nothing of the change is kept; the next one may find room.
    #[error("there is no room on the disk for the records")]
    Full,
    /// More changes wait than may.
    #[error("too many changes of records wait to be written")]
    Overloaded,
    /// Nothing is written any more, because something was not: what is on the disk has to be read anew.
    #[error("records are no longer written since {0}: restart the node when the disk is well")]
    Stopped(Arc<str>),
    /// Anything else that SQLite says.
    #[error("the records could not be read or written: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match error.sqlite_error_code() {
            Some(DiskFull) => StoreError::Full,
            Some(DatabaseCorrupt | NotADatabase) => StoreError::Corrupt(Arc::new(error)),
            _ => StoreError::Sqlite(Arc::new(error)),
        }
    }
}
