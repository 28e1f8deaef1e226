//! Records, wherever they are.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::archive::{self, Moved, Part, Writer};
use crate::lease::{Answer, Ask, Owner};
use crate::postgres::{self, Database};
use crate::record::{
    Change, Done, Found, Head, Heads, Key, Load, MostOfEach, MostValues, Page, Record, Room, StoreError, Summary,
    Usage, Values,
};
use crate::replicated::{self, Of, Replicated, Voter};
use crate::sqlite::{self, File, Readers, Told};

/// Where records are, whether anybody has them open or not.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The path of a file.
    File(&'a Path),
    /// The URL of a database.
    Database(&'a str),
    /// The folder of the voter of a node.
    Voter(&'a Path, &'a str),
}

impl Place<'_> {
    /// Writes the records of a class, or of all, with the records without a class that they name, into a file of its own: as they
    /// are at this moment, whoever goes on with them; a voter's are those that it has applied. It takes the memory of one record. The file
    /// is there when all of it is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] by the first record that is; [`StoreError::Taken`] when there is such a file, and it is not to be
    /// replaced; when the records can't be read, or the file can't be written.
    pub fn export(&self, class: Option<&str>, to: &Path, overwrite: bool) -> Result<Moved, StoreError> {
        let to = Writer::create(to, overwrite)?;
        match self {
            Place::File(path) => sqlite::export(path, class, to),
            Place::Database(url) => postgres::export(url, class, to),
            Place::Voter(folder, _node) => sqlite::export_of_voter(&folder.join("records.db"), class, to),
        }
    }

    /// Puts what [`Place::export`] has written into a store of any kind, which is made if there is none: all of it, or nothing. Of a voter's
    /// there has to be none. Nobody else may have it open. It takes the memory of one record. How often a record was written is counted anew.
    ///
    /// # Errors
    /// [`StoreError::Torn`] when the file is not what was written, [`StoreError::There`] when a record is there already that is not
    /// to be replaced, [`StoreError::InUse`] while a node has a lease of the database, [`StoreError::NoVoter`] when there is a voter's folder;
    /// when something can't be read or written.
    pub fn import(&self, from: &Path, overwrite: bool) -> Result<Moved, StoreError> {
        self.import_parts(vec![(from.into(), BTreeSet::new())], overwrite)
    }

    /// As [`Place::import`], of several such files: the records that they have together, but for those that are left out of each. A record
    /// that several still have is that of the first. It takes the memory of all records' names.
    ///
    /// # Errors
    /// As for [`Place::import`].
    pub fn import_parts(&self, from: Vec<Part>, overwrite: bool) -> Result<Moved, StoreError> {
        let mut from = archive::Source::open(from)?;
        match self {
            Place::File(path) => sqlite::import(path, &mut from, overwrite),
            Place::Database(url) => postgres::import(url, &mut from, overwrite),
            Place::Voter(folder, node) => replicated::import(folder, node, &mut from),
        }
    }
}

/// Records in a file or in a database. When they are dropped, what waits is written; nobody waits for that, but for who says
/// [`Records::close`].
pub struct Records(Engine);

enum Engine {
    Sqlite(File),
    Replicated(Replicated),
    Postgres(Database),
}

/// Where an engine is asked for what it has.
enum Source<'a> {
    File(&'a Readers),
    Database(&'a Database),
}

impl Engine {
    /// # Errors
    /// [`StoreError::Away`] of a voter that does not know what others were answered.
    fn source(&self, of: Of<'_>) -> Result<Source<'_>, StoreError> {
        Ok(match self {
            Engine::Sqlite(file) => Source::File(file.readers()),
            Engine::Replicated(replicated) => Source::File(replicated.readers(of)?),
            Engine::Postgres(database) => Source::Database(database),
        })
    }

    /// Whose alarms are asked of a file that has owners.
    fn owner(&self) -> Option<&Owner> {
        match self {
            Engine::Replicated(replicated) => Some(replicated.owner()),
            Engine::Sqlite(_) | Engine::Postgres(_) => None,
        }
    }
}

impl Records {
    /// Opens a file, and makes it if there is none. Beside it there are two more while it is open, with `-wal` and `-shm` after its
    /// name; the former belongs to it. When the disk fails, it is opened again and again, until that takes what is written.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when it would be older than what was answered; when it can't be read, is of a later version, or the
    /// system gives no thread.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_told(path, Box::new(|_why| {}))
    }

    /// As [`Records::open`]; `told` hears when nothing is written any more, or there is no room, and when all is well again.
    ///
    /// # Errors
    /// The same.
    pub fn open_told(path: &Path, told: Told) -> Result<Self, StoreError> {
        Ok(Records(Engine::Sqlite(File::open(path, told)?)))
    }

    /// Accepts the records of a file as they are, when they are older than what was answered ([`StoreError::Behind`]). What was
    /// missing; `None` when nothing was, and nothing is done. A log that is damaged is kept, with `-wal.torn` and a number after the
    /// file's name. Nobody else may have the file open.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn accept(path: &Path) -> Result<Option<String>, StoreError> {
        sqlite::accept(path)
    }

    /// Opens a database for one of its nodes, and makes the tables if there are none. Once it is open, it finds the database again
    /// whenever that was away.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::Away`], [`StoreError::Rights`], [`StoreError::Newer`], or what the database says.
    pub fn open_shared(url: &str, owner: Owner) -> Result<Self, StoreError> {
        Ok(Records(Engine::Postgres(Database::open(url, owner)?)))
    }

    /// Opens what a voter keeps with others, for one of the nodes. Who reads or writes what others have waits on its own thread until it
    /// is known, so it is to be none that drives tasks.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the system has no randomness.
    pub fn open_replicated(voter: &Voter, owner: Owner) -> Result<Self, StoreError> {
        Ok(Records(Engine::Replicated(Replicated::open(voter, owner)?)))
    }

    /// Has a change written, with others that come at about the same time; `done` is called when that is over. Changes of a namespace are
    /// made in the order of these calls; one of another does not wait for all of them. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] of a change that no store would keep; when too many changes wait, or nothing is written any more. Then `done` is
    /// not called.
    pub fn commit(&self, key: Key, change: Change, done: Done) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Sqlite(file) => file.commit(key, change, done),
            Engine::Replicated(replicated) => replicated.commit(key, change, done),
            Engine::Postgres(database) => database.commit(key, change, done),
        }
    }

    /// How much waits for being written, or is being written.
    #[must_use]
    pub fn waiting(&self) -> Load {
        self.room().load()
    }

    /// Does no change of this record wait for being written? One that waits may be of a process that was killed.
    #[must_use]
    pub fn is_settled(&self, key: &Key) -> bool {
        self.room().is_settled(key)
    }

    fn room(&self) -> &Room {
        match &self.0 {
            Engine::Sqlite(file) => file.room(),
            Engine::Replicated(replicated) => replicated.room(),
            Engine::Postgres(database) => database.room(),
        }
    }

    /// Returns when what waits has been written, and the file or the connections are closed.
    pub fn close(self) {
        match self.0 {
            Engine::Sqlite(file) => file.close(),
            Engine::Replicated(replicated) => replicated.close(),
            Engine::Postgres(database) => database.close(),
        }
    }

    /// A record; `None` when there is certainly none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when what is there is not what was written.
    pub fn read(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        match self.0.source(Of::Key(key))? {
            Source::File(file) => file.read(key),
            Source::Database(database) => database.read(key),
        }
    }

    /// The same, unless its head and images have more bytes. A database's is read whole, whatever it has.
    ///
    /// # Errors
    /// As for [`Records::read`].
    pub fn read_up_to(&self, key: &Key, most: u64) -> Result<Option<Found>, StoreError> {
        match self.0.source(Of::Key(key))? {
            Source::File(file) => file.read_up_to(key, most),
            Source::Database(database) => Ok(database.read(key)?.map(Found::Whole)),
        }
    }

    /// What is to be known of a record before its images are read, which are not; `None` when there is certainly none.
    ///
    /// # Errors
    /// As for [`Records::read`], but for damage to an image.
    pub fn head(&self, key: &Key) -> Result<Option<Head>, StoreError> {
        match self.0.source(Of::Key(key))? {
            Source::File(file) => file.head(key),
            Source::Database(database) => database.head(key),
        }
    }

    /// A value of a record; `None` when there is no such value, or no such record.
    ///
    /// # Errors
    /// As for [`Records::read`].
    pub fn value(&self, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.source(Of::Key(key))? {
            Source::File(file) => file.value(key, of),
            Source::Database(database) => database.value(key, of),
        }
    }

    /// Keys and values of a record whose keys begin with `prefix` and come after `after`, no more than `most`, in the order of the keys.
    ///
    /// # Errors
    /// As for [`Records::read`].
    pub fn values(
        &self,
        key: &Key,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: impl Into<MostValues>,
    ) -> Result<Values, StoreError> {
        match self.0.source(Of::Key(key))? {
            Source::File(file) => file.values(key, prefix, after, most.into()),
            Source::Database(database) => database.values(key, prefix, after, most.into()),
        }
    }

    /// Records of a class, `limit` at most, from where a part before said that this one begins.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn list(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        match self.0.source(Of::All)? {
            Source::File(file) => file.list(class, from, limit),
            Source::Database(database) => database.list(class, from, limit),
        }
    }

    /// As [`Records::list`], with heads. No images are read.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn heads(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Heads, StoreError> {
        let database = match self.0.source(Of::All)? {
            Source::File(file) => return file.heads(class, from, limit),
            Source::Database(database) => database,
        };
        let page = database.list(class, from, limit)?;
        let mut records = Vec::with_capacity(page.records.len());
        for Summary { key, .. } in page.records {
            match database.head(&key) {
                Ok(Some(found)) => records.push((key.name, Some(found.head))),
                // It was deleted meanwhile.
                Ok(None) => {}
                Err(StoreError::Damaged { .. }) => records.push((key.name, None)),
                Err(error) => return Err(error),
            }
        }
        Ok(Heads { records, next: page.next })
    }

    /// Classes that there are records of, in their order: those after one, `limit` at most. The empty class is none.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn classes(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        match self.0.source(Of::All)? {
            Source::File(file) => file.classes(after, limit),
            Source::Database(database) => database.classes(after, limit),
        }
    }

    /// What the records of all classes in a namespace have together, with or without their bytes. Takes the longer the more there
    /// are, and without bytes a fraction of that.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn usage(&self, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
        match self.0.source(Of::All)? {
            Source::File(file) => file.usage(namespace, with_bytes),
            Source::Database(database) => database.usage(namespace, with_bytes),
        }
    }

    /// Alarms that are due until then, in ms since 1970, and whose they are; the earliest first. Of each namespace those that are due
    /// first, as many as it gets, however many others have. Of a shared store those in the shards that this node owns.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn alarms(&self, until: i64, most: &MostOfEach) -> Result<Vec<(i64, Key)>, StoreError> {
        match self.0.source(Of::Own)? {
            Source::File(file) => file.alarms(self.0.owner(), until, most),
            Source::Database(database) => database.alarms(until, most),
        }
    }

    /// Asks something of leases and shards; `done` is called with the answer, within `within`. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::NotShared`] of records in a file. Then `done` is not called.
    pub fn lease(
        &self,
        ask: Ask,
        within: Duration,
        done: impl FnOnce(Result<Answer, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Sqlite(_file) => Err(StoreError::NotShared),
            Engine::Replicated(replicated) => {
                replicated.lease(ask, within, done);
                Ok(())
            }
            Engine::Postgres(database) => {
                database.lease(ask, within, done);
                Ok(())
            }
        }
    }
}
