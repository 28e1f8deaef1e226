//! All that was applied up to an entry, as one database.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::record::StoreError;
use crate::sqlite::readable;

/// A connection that goes on seeing what there was when it was made, whatever is applied later.
pub(crate) struct Snapshot(Mutex<Connection>);

impl Snapshot {
    /// Of a file, as it is at this moment. Its log can't be put into the file for as long as it is held.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = readable(path)?;
        connection.execute_batch("BEGIN")?;
        // The first read is what begins it.
        connection.query_row("SELECT count(*) FROM applied", [], |row| row.get::<_, i64>(0))?;
        Ok(Snapshot(Mutex::new(connection)))
    }

    /// An empty one, to be filled by what another voter sends.
    ///
    /// # Errors
    /// When SQLite has no temporary file.
    pub(super) fn empty() -> Result<Self, StoreError> {
        Ok(Snapshot(Mutex::new(Connection::open("")?)))
    }

    /// Has it replace all that a database has, in one transaction.
    ///
    /// # Errors
    /// When something can't be read or written: then it is as it was.
    pub(super) fn copy_to(&self, to: &mut Connection) -> Result<(), StoreError> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = Backup::new(&connection, to)?;
        Ok(copy.run_to_completion(i32::MAX, Duration::ZERO, None)?)
    }
}
