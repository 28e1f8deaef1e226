//! Records in a file of SQLite's: a thread that writes, and connections that read.

mod erase;
mod forget;
mod moving;
mod read;
mod schema;
mod write;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub(crate) use moving::{export, import};

use crate::record::{
    Change, Done, Heads, Job, Key, Page, QUEUE, Record, Room, StoreError, Usage, Values, is_refusal, piled_up,
};

/// Connections that are kept for who reads next.
const READERS: usize = 8;

/// Records in a file. When it is dropped, its thread writes what waits, closes the file and ends; nobody waits for that, but for who
/// says [`File::close`].
pub(crate) struct File {
    path: PathBuf,
    // Fields drop in this order: the thread has the last connections once it sees that nothing more can come.
    readers: Arc<Readers>,
    jobs: Sender<Job>,
    room: Room,
    writer: JoinHandle<()>,
}

/// Connections for who reads next.
type Readers = Mutex<Vec<Connection>>;

impl File {
    /// Opens the file, and makes it if there is none. Beside it there are two more while it is open, with `-wal` and `-shm` after
    /// its name; the former belongs to it.
    ///
    /// # Errors
    /// When it can't be read, is of a later version, or the system gives no thread.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = schema::writable(path)?;
        let file = Identity::of(path);
        let readers = Arc::<Readers>::default();
        let (jobs, queue) = bounded(QUEUE);
        let writer = Builder::new()
            .name("tidepool-records".into())
            .spawn({
                let (readers, path) = (Arc::clone(&readers), path.to_owned());
                move || {
                    write_all(&mut connection, &queue, || Identity::of(&path) == file);
                    // Whoever closes the last connection has the log put into the file.
                    drop(readers);
                }
            })
            .map_err(|error| StoreError::Stopped(format!("its thread could not be started: {error}").into()))?;
        Ok(File { path: path.into(), readers, jobs, room: Room::default(), writer })
    }

    /// Has a change written, with others that come at about the same time; `done` is called when that is over. Changes are made in
    /// the order of these calls. Does not wait.
    ///
    /// # Errors
    /// When too many changes wait, or nothing is written any more. Then `done` is not called.
    pub(crate) fn commit(&self, key: Key, change: Change, done: Done) -> Result<(), StoreError> {
        let done = self.room.take(&change, done)?;
        self.jobs.try_send(Job { key, change, done }).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Stopped("its thread ended".into()),
        })
    }

    /// Returns when what waits has been written and the file is closed.
    pub(crate) fn close(self) {
        let File { readers, jobs, writer, .. } = self;
        drop((readers, jobs));
        // What it was about to say has been said to who waited for it.
        let _ended = writer.join();
    }

    /// A record; `None` when there is certainly none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when what is there is not what was written.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.reading(|connection| read::record(connection, key))
    }

    /// The number of a record, and its head; `None` when there is certainly none.
    ///
    /// # Errors
    /// As for [`File::read`], but for images.
    pub(crate) fn head(&self, key: &Key) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.reading(|connection| read::head(connection, key))
    }

    /// A value of a record; `None` when there is no such value, or no such record.
    ///
    /// # Errors
    /// As for [`File::read`].
    pub(crate) fn value(&self, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reading(|connection| read::value(connection, key, of))
    }

    /// Keys and values of a record whose keys begin with `prefix` and come after `after`, `limit` at most, in the order of the keys.
    ///
    /// # Errors
    /// As for [`File::read`].
    pub(crate) fn values(
        &self,
        key: &Key,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Values, StoreError> {
        self.reading(|connection| read::values(connection, key, prefix, after, limit))
    }

    /// Records of a class, `limit` at most, from where a part before said that this one begins.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn list(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.reading(|connection| read::list(connection, class, from, limit))
    }

    /// As [`File::list`], with heads.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn heads(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Heads, StoreError> {
        self.reading(|connection| read::heads(connection, class, from, limit))
    }

    /// As [`Records::usage`](crate::Records::usage).
    pub(crate) fn usage(&self, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
        self.reading(|connection| read::usage(connection, namespace, with_bytes))
    }

    /// Alarms that are due until then, in ms since 1970, and whose they are; the earliest first, `limit` at most.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn alarms(&self, until: i64, limit: usize) -> Result<Vec<(i64, Key)>, StoreError> {
        self.reading(|connection| read::alarms(connection, until, limit))
    }

    fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.readers().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => schema::readable(&self.path)?,
        };
        let transaction = connection.transaction()?;
        let found = read(&transaction)?;
        drop(transaction);
        // One that has met an error is not used again.
        let mut readers = self.readers();
        if readers.len() < READERS {
            readers.push(connection);
        }
        Ok(found)
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing that can panic runs under the lock.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which file a path is of; `None` when there is none.
#[derive(PartialEq, Eq)]
struct Identity(Option<(u64, u64)>);

impl Identity {
    fn of(path: &Path) -> Self {
        Identity(path.metadata().ok().map(|file| (file.dev(), file.ino())))
    }
}

/// Writes what comes, until nothing more can come. `in_place` says whether the file is where it will be looked for.
fn write_all(connection: &mut Connection, queue: &Receiver<Job>, in_place: impl Fn() -> bool) {
    let mut stopped: Option<Arc<str>> = None;
    while let Ok(first) = queue.recv() {
        let jobs = piled_up(first, || queue.try_recv().ok());
        if let Some(why) = &stopped {
            jobs.into_iter().for_each(|job| (job.done)(Err(StoreError::Stopped(Arc::clone(why)))));
            continue;
        }
        let mut outcomes = write_together(connection, &jobs);
        if matches!(&outcomes, Err(StoreError::Corrupt(_))) && jobs.len() > 1 {
            // One page that can't be read is not to stop those who don't need it.
            outcomes =
                Ok(jobs.iter().map(|job| write_together(connection, std::slice::from_ref(job))?.remove(0)).collect());
        }
        if let Err(error @ (StoreError::Sqlite(_) | StoreError::Unknown(_))) = &outcomes {
            stopped = Some(error.to_string().into());
        }
        // SQLite goes on writing to what nobody will find again.
        if !in_place() {
            let why = Arc::<str>::from("their file was removed or replaced");
            outcomes = Err(StoreError::Stopped(Arc::clone(&why)));
            stopped = Some(why);
        }
        let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error); jobs.len()]);
        jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| (job.done)(outcome));
    }
}

/// Commits the changes that may be made; for each whether it was.
///
/// # Errors
/// When none was.
fn write_together(connection: &mut Connection, jobs: &[Job]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        match write::apply(&transaction, &job.key, &job.change) {
            Err(error) if !is_refusal(&error) => return Err(error),
            outcome => outcomes.push(outcome),
        }
    }
    transaction.commit().map_err(StoreError::of_commit)?;
    Ok(outcomes)
}
