//! Why something could not be read or written.

use std::path::Path;
use std::sync::Arc;

use super::key::Key;

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
    /// The shard of a new record has as many of its namespace as it may.
    #[error("{}", crowded(key, *records))]
    Crowded {
        /// The record that would be new.
        key: Key,
        /// How many there are.
        records: u64,
    },
    /// A name or a key has more bytes than the database's indexes take.
    #[error("{what} of {key} has {bytes} bytes, and {most} is the most that a shared store takes")]
    TooLong {
        /// Whose record it is.
        key: Key,
        /// What of it.
        what: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// The change has more bytes than are written at once. Nothing is made of it, and all is as it was.
    #[error("{}", too_large(key, *bytes, *most))]
    TooLarge {
        /// Whose record it is.
        key: Key,
        /// How many bytes the change has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// What was read is not what was written.
    #[error("{what} of {key} is damaged: restore the records from a backup, or delete it")]
    Damaged {
        /// Whose record it is, or was asked for.
        key: Key,
        /// What of it.
        what: &'static str,
    },
    /// SQLite can't read the file, or PostgreSQL its own.
    #[error("what keeps the records is damaged: {0}")]
    Corrupt(Arc<str>),
    /// A later version wrote them.
    #[error("the records have format {found}, and this version reads {known}: start a newer one")]
    Newer {
        /// Their format.
        found: i64,
        /// The one that is known.
        known: i64,
    },
    /// The file belongs to a voter, who has a log of what comes next.
    #[error("the file of the records belongs to a voter: it alone may write to it")]
    OfVoter,
    /// The file belongs to none, and a voter has no log of what is in it.
    #[error("the file of the records belongs to no voter: a voter begins with a folder of its own")]
    OfNoVoter,
    /// The node's folder is none of those of the voters that keep the records together.
    #[error("{0}")]
    NoVoter(Arc<str>),
    /// The members of those that keep the records together are not changed.
    #[error("{0}")]
    Members(Arc<str>),
    /// The disk is full. Nothing of the change is kept; the next one may find room.
    #[error("there is no room on the disk for the records")]
    Full,
    /// More changes wait than may.
    #[error("too many changes of records wait to be written")]
    Overloaded,
    /// What is on the disk is older than what was answered, for the log of the last changes is damaged.
    #[error(
        "{0}. Put the log back, or the actors from a backup; or accept the older state that is left, with the node stopped: \
         mix tidepool.actors.accept"
    )]
    Behind(Arc<str>),
    /// Nothing is written at the moment, because something was not: what is on the disk has to be read anew.
    #[error(
        "records are not written since the disk failed ({0}): see to the disk and its room. \
         They are again, by themselves, as soon as it takes them"
    )]
    Stopped(Arc<str>),
    /// Nothing has come of it: the database is away, or does not answer in time.
    #[error("the store of the records is away: {0}")]
    Away(Arc<str>),
    /// What keeps the records failed while it committed: the connection to a database was lost, or a disk did not say that it had
    /// all. The change is kept, or it is not: the record is to be read anew.
    #[error("the commit was cut short ({0}): the change may be kept, or not")]
    Unknown(Arc<str>),
    /// The URL of a database is none, or asks for what there is not.
    #[error("{0}")]
    Url(Arc<str>),
    /// The database's user may not do what is needed.
    #[error(
        "the database says {0}. Its user needs a schema `tidepool` of its own: \
         CREATE SCHEMA tidepool AUTHORIZATION the_user, or GRANT CREATE ON DATABASE the_database TO the_user"
    )]
    Rights(Arc<str>),
    /// The node has no lease, so it can be given nothing.
    #[error("the node {0} has no lease: it can own no shards")]
    NoLease(Arc<str>),
    /// Another node of the same name, or another start of this one, has the lease.
    #[error(
        "another start of the node {0} has its lease, until that runs out. If this goes on, two nodes have this name: \
         nodes of one store need names of their own"
    )]
    Replaced(Arc<str>),
    /// Leases were asked of records in a file.
    #[error("records in a file have no leases")]
    NotShared,
    /// An archive is not what was written.
    #[error("{0} is no whole export of actors, or it is damaged: nothing was imported. Export them again")]
    Torn(Arc<str>),
    /// There is a file where an archive is to be.
    #[error("{0} is there already: name another file, or have it overwritten")]
    Taken(Arc<str>),
    /// A record of an archive is in the store already.
    #[error("{0} is there already, so nothing was imported: have it overwritten, or delete it")]
    There(Key),
    /// Records are put into a store only while nobody uses it.
    #[error("the store is in use by {0}: stop all its nodes, and wait until their leases have run out")]
    InUse(Arc<str>),
    /// The system can't read or write a file.
    #[error("{0}")]
    File(Arc<str>),
    /// Anything else that PostgreSQL says.
    #[error("the database could not read or write the records: {0}")]
    Postgres(Arc<str>),
    /// Anything else that SQLite says.
    #[error("the records could not be read or written: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

impl StoreError {
    /// What the system says of a file.
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        StoreError::File(format!("{}: {error}", path.display()).into())
    }

    /// What SQLite says of a commit. All of it may be in the log by then, where the next start finds it; not when the disk was full.
    pub(crate) fn of_commit(error: rusqlite::Error) -> Self {
        match error.into() {
            StoreError::Full => StoreError::Full,
            other => StoreError::Unknown(other.to_string().into()),
        }
    }
}

fn crowded(key: &Key, records: u64) -> String {
    if key.class.is_empty() {
        // Its name is the digest of its bytes.
        let name = &key.name;
        return format!(
            "the module {name} would be kept with {records} others of the same namespace: build it anew, for one of other bytes would not"
        );
    }
    format!(
        "{key} would be in a shard with {records} actors of the same namespace, and other names would not: choose another name"
    )
}

fn too_large(key: &Key, bytes: usize, most: usize) -> String {
    if key.class.is_empty() {
        let name = &key.name;
        return format!(
            "the module {name} has {bytes} bytes, and {most} is the most that is kept for actors: build a smaller one"
        );
    }
    format!(
        "a change of {key} has {bytes} bytes, and {most} is the most that is written at once: have it keep less in its memory, or keep \
         what it has as values"
    )
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        match error.sqlite_error_code() {
            Some(DiskFull) => StoreError::Full,
            Some(DatabaseCorrupt | NotADatabase) => StoreError::Corrupt(error.to_string().into()),
            _ => StoreError::Sqlite(Arc::new(error)),
        }
    }
}
