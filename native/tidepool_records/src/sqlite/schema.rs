//! The file: its tables, and how it is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::record::StoreError;

/// The format of the file; and of one that a voter has, whose log says what comes next: nothing else may write to it.
const FORMAT: i64 = 1;
const OF_VOTER: i64 = 1_001;

/// Images of the record `id` are the rows from `id * IMAGES_PER_RECORD` on, so that they need no index.
const IMAGES_PER_RECORD: i64 = 64;

/// The rows of the images of a record: the first that may be one, and the first after all of them.
pub(super) fn image_rows(id: i64) -> [i64; 2] {
    let first = id.saturating_mul(IMAGES_PER_RECORD);
    [first, first.saturating_add(IMAGES_PER_RECORD)]
}

/// A head may be long, and is the last of its row: what comes before it is read without it.
const TABLES: &str = "
CREATE TABLE shard (id INTEGER PRIMARY KEY, records INTEGER NOT NULL, sum BLOB NOT NULL);
CREATE TABLE record (
  shard INTEGER NOT NULL, class TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, alarm_at INTEGER,
  links INTEGER NOT NULL, chain BLOB, bytes INTEGER NOT NULL, mark BLOB NOT NULL, head BLOB NOT NULL,
  PRIMARY KEY (shard, class, name)
) WITHOUT ROWID;
CREATE TABLE image (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE value (
  id INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (id, key)
) WITHOUT ROWID;
CREATE TABLE next (id INTEGER NOT NULL);
INSERT INTO next VALUES (1);
";

/// What a class begins with that is in a namespace, and nothing of others: `shop/`. Who looks for it says it in these words, as the index
/// does.
pub(super) const NAMESPACE: &str = "substr(class, 1, instr(class, '/'))";

/// Have records of a class found without a look at those of others, and the first alarms of a namespace. Files of earlier versions get
/// them when they are opened, and they are nothing that those would not keep up.
const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS record_class ON record (class, shard, name);
CREATE INDEX IF NOT EXISTS record_turn ON record (substr(class, 1, instr(class, '/')), alarm_at)
  WHERE alarm_at IS NOT NULL;
";

/// Ids whose values are left, and those whose images are, by the namespaces that they were of; and which of these had its turn last. Files
/// of earlier versions get them, too, and those leave them alone, or know of values and not of images.
const GONE: &str = "
CREATE TABLE IF NOT EXISTS gone (
  namespace BLOB NOT NULL, id INTEGER NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS swept (only INTEGER PRIMARY KEY CHECK (only = 1), namespace BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS gone_image (
  namespace BLOB NOT NULL, id INTEGER NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS swept_image (only INTEGER PRIMARY KEY CHECK (only = 1), namespace BLOB NOT NULL);
";

/// Opens the file to write to, and makes it if there is none.
///
/// # Errors
/// When it can't be read, or is of a later version.
pub(super) fn writable(path: &Path) -> Result<Connection, StoreError> {
    prepared(Connection::open(path)?, FORMAT)
}

/// The same of a voter's file.
///
/// # Errors
/// As for [`writable`].
pub(super) fn writable_of_voter(path: &Path) -> Result<Connection, StoreError> {
    prepared(Connection::open(path)?, OF_VOTER)
}

/// As [`writable`], of a file that has to be there.
///
/// # Errors
/// As for [`writable`].
pub(super) fn writable_again(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE;
    prepared(Connection::open_with_flags(path, flags)?, FORMAT)
}

fn prepared(mut connection: Connection, format: i64) -> Result<Connection, StoreError> {
    // Before there is a table: a blob of some KiB is not cut into many pages.
    connection.pragma_update(None, "page_size", 8_192)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // The log is flushed with each commit.
    connection.pragma_update(None, "synchronous", "full")?;
    // Who writes has it put into the file.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    checks(&connection)?;
    let tables = connection.transaction()?;
    match tables.pragma_query_value(None, "user_version", |row| row.get(0))? {
        0 => {
            tables.execute_batch(TABLES)?;
            tables.pragma_update(None, "user_version", format)?;
        }
        found => known(found, format)?,
    }
    add(&tables)?;
    tables.commit()?;
    Ok(connection)
}

/// Gives the file of an earlier version what it has not: indexes, and tables that such a version leaves alone.
///
/// # Errors
/// When it can't be written.
pub(crate) fn add(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(INDEXES)?;
    Ok(connection.execute_batch(GONE)?)
}

/// Opens a file that [`writable`] has opened before, to read from it.
///
/// # Errors
/// When it can't be read.
pub(crate) fn readable(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    checks(&connection)?;
    Ok(connection)
}

/// Is the file of the format that is known here?
///
/// # Errors
/// [`StoreError::Newer`], or when it can't be read.
pub(super) fn checked(connection: &Connection) -> Result<(), StoreError> {
    known(connection.pragma_query_value(None, "user_version", |row| row.get(0))?, FORMAT)
}

/// Is it that of a voter's file?
///
/// # Errors
/// As for [`checked`].
pub(super) fn checked_of_voter(connection: &Connection) -> Result<(), StoreError> {
    known(connection.pragma_query_value(None, "user_version", |row| row.get(0))?, OF_VOTER)
}

/// Is a file of this format what is wanted?
fn known(found: i64, wanted: i64) -> Result<(), StoreError> {
    match found {
        found if found == wanted => Ok(()),
        OF_VOTER => Err(StoreError::OfVoter),
        FORMAT => Err(StoreError::OfNoVoter),
        found => Err(StoreError::Newer { found, known: wanted }),
    }
}

/// Damaged pages are to be an error, and nothing worse.
fn checks(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// A file for a test, and the folder that it goes with.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) fn new_file() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let connection = writable(&folder.path().join("records")).unwrap();
    (folder, connection)
}
