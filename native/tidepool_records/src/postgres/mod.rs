//! Records in a database of PostgreSQL's, which several nodes share.
//!
//! A thread has the event loop: connections, and the task that writes. Who reads waits for the answer in its own thread, bounded.

mod alarms;
mod changes;
mod connector;
mod erase;
mod failure;
mod gone;
mod group;
mod lease;
mod moving;
mod pool;
mod read;
mod schema;
mod session;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

use self::connector::Connector;
pub(crate) use self::moving::{export, import};
use self::pool::Pool;
use self::session::Session;
use crate::lease::{Answer, Ask, Owner};
use crate::record::{
    Change, Done, Head, Job, Key, MostOfEach, MostValues, Page, QUEUE, Record, Room, StoreError, Usage, Values,
};

/// How long a read may take.
const READ: Duration = Duration::from_secs(5);
/// How long it may take to open the database, with making its tables.
const OPEN: Duration = Duration::from_secs(15);

/// The database in use. When it is dropped, what waits is written.
pub(crate) struct Database {
    pool: Arc<Pool>,
    // The thread ends when nothing more can come.
    jobs: mpsc::Sender<Job>,
    // Of records that have no owner: they wait for each other's, which no other group is to wait for.
    common: mpsc::Sender<Job>,
    room: Room,
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Database {
    /// Opens it, and makes the tables if there are none.
    ///
    /// # Errors
    /// When the URL is none, the database is away, its format is newer, or its user may not.
    pub(crate) fn open(url: &str, owner: Owner) -> Result<Self, StoreError> {
        let unstarted =
            |error: std::io::Error| StoreError::Stopped(format!("its thread could not be started: {error}").into());
        let connector = Arc::new(Connector::new(url)?);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unstarted)?;
        let opened = async { tokio::time::timeout(OPEN, schema::make(&connector)).await };
        let unindexed = runtime.block_on(opened).map_err(|_late| failure::late(OPEN))??;
        if let Some(client) = unindexed {
            runtime.spawn(schema::index(client));
        }
        let owner = Arc::new(owner);
        let pool = Arc::new(Pool::new(Arc::clone(&connector), Arc::clone(&owner)));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (common, common_queue) = mpsc::channel(QUEUE);
        let handle = runtime.handle().clone();
        let swept = Arc::clone(&pool);
        let thread = std::thread::Builder::new()
            .name("tidepool-postgres".into())
            .spawn(move || {
                let writers = async {
                    tokio::join!(
                        writer::write_all(&connector, &owner, queue),
                        writer::write_all(&connector, &owner, common_queue)
                    )
                };
                runtime.block_on(async {
                    // It ends with those who write.
                    tokio::select! {
                        _ended = writers => {}
                        () = gone::sweep_all(&swept) => {}
                    }
                });
            })
            .map_err(unstarted)?;
        Ok(Database { pool, jobs, common, room: Room::default(), handle, thread })
    }

    /// As [`Records::commit`](crate::Records::commit).
    pub(crate) fn commit(&self, key: Key, change: Change, done: Done) -> Result<(), StoreError> {
        use mpsc::error::TrySendError::{Closed, Full};
        let done = self.room.take(&key, &change, done)?;
        let queue = if key.class.is_empty() { &self.common } else { &self.jobs };
        queue.try_send(Job { key, change, done }).map_err(|error| match error {
            Full(_) => StoreError::Overloaded,
            Closed(_) => StoreError::Stopped("its thread ended".into()),
        })
    }

    /// What waits for being written.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Returns when what waits has been written and the connections are closed.
    pub(crate) fn close(self) {
        let Database { jobs, common, thread, .. } = self;
        drop((jobs, common));
        // What it was about to say has been said to who waited for it.
        let _ended = thread.join();
    }

    pub(crate) fn read(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.reading(async |session| read::record(session, key).await)
    }

    pub(crate) fn head(&self, key: &Key) -> Result<Option<Head>, StoreError> {
        self.reading(async |session| read::head(session, key).await)
    }

    pub(crate) fn value(&self, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reading(async |session| read::value(session, key, of).await)
    }

    pub(crate) fn values(
        &self,
        key: &Key,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: MostValues,
    ) -> Result<Values, StoreError> {
        self.reading(async |session| read::values(session, key, prefix, after, most).await)
    }

    pub(crate) fn list(&self, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.reading(async |session| read::list(session, class, from, limit).await)
    }

    pub(crate) fn classes(&self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.reading(async |session| read::classes_after(session, after, limit).await)
    }

    pub(crate) fn usage(&self, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
        self.reading(async |session| read::usage(session, namespace, with_bytes).await)
    }

    pub(crate) fn alarms(&self, until: i64, most: &MostOfEach) -> Result<Vec<(i64, Key)>, StoreError> {
        let owner = self.pool.owner();
        self.reading(async |session| read::alarms(session, owner, until, most).await)
    }

    /// As [`Records::lease`](crate::Records::lease).
    pub(crate) fn lease(
        &self,
        ask: Ask,
        within: Duration,
        done: impl FnOnce(Result<Answer, StoreError>) + Send + 'static,
    ) {
        // The thread does not end before the answer is told.
        let (pool, kept) = (Arc::clone(&self.pool), self.jobs.clone());
        self.handle.spawn(async move {
            let answer = tokio::time::timeout(within, lease::answer(&pool, &ask)).await;
            done(answer.unwrap_or_else(|_late| Err(silent(&pool, within))));
            drop(kept);
        });
    }

    fn reading<T>(&self, read: impl AsyncFn(&Session) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.handle.block_on(async {
            let read = tokio::time::timeout(READ, self.pool.reading(read));
            read.await.unwrap_or_else(|_late| Err(silent(&self.pool, READ)))
        })
    }
}

/// The database has not answered in time: who asks next does so by a connection of its own.
fn silent(pool: &Pool, within: Duration) -> StoreError {
    pool.clear();
    failure::late(within)
}
