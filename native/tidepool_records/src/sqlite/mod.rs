//! Records in a file of SQLite's: a thread that writes, and connections that read.

mod accept;
mod alarms;
mod erase;
mod forget;
mod gone;
mod identity;
mod log;
mod moving;
mod opened;
mod read;
mod readers;
mod schema;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Sender, TrySendError, bounded};

pub(crate) use accept::accept;
pub(crate) use alarms::index as index_of_owners;
pub(crate) use gone::{Pace, sweep_images, sweep_values};
pub(crate) use log::{check as check_log, flush as flush_log, written_again as log_written_again};
pub(crate) use moving::{export, export_of_voter, import};
pub(crate) use opened::Opened;
pub(crate) use readers::Readers;
pub(crate) use schema::{add, readable};
pub(crate) use write::{apply, has_room, may_replace, replaced};
pub use writer::Told;
use writer::Writer;

use crate::record::{Change, Done, Job, Key, QUEUE, Room, StoreError};

/// Records in a file. When it is dropped, its thread writes what waits, closes the file and ends; nobody waits for that, but for who
/// says [`File::close`].
pub(crate) struct File {
    // Fields drop in this order: the thread has the last connections once it sees that nothing more can come.
    readers: Arc<Readers>,
    jobs: Sender<Job>,
    room: Room,
    writer: JoinHandle<()>,
}

impl File {
    /// Opens the file, and makes it if there is none. Beside it there are two more while it is open, with `-wal` and `-shm` after
    /// its name; the first belongs to it.
    ///
    /// # Errors
    /// [`StoreError::Behind`] when it would be older than what was answered; when it can't be read, is of a later version, or the
    /// system gives no thread.
    pub(crate) fn open(path: &Path, told: Told) -> Result<Self, StoreError> {
        let path = &followed(path);
        let opened = Opened::new(path)?;
        let (say, quiet) = bounded(1);
        let readers = Readers::new(path, move || {
            // What was said before is yet to be heard.
            let _said = say.try_send(());
        });
        let readers = Arc::new(readers);
        let (jobs, queue) = bounded(QUEUE);
        let writer = Writer::new(path, opened, Arc::clone(&readers), quiet, told);
        let writer = Builder::new()
            .name("tidepool-records".into())
            .spawn(move || writer.write_all(&queue))
            .map_err(|error| StoreError::Stopped(format!("its thread could not be started: {error}").into()))?;
        Ok(File { readers, jobs, room: Room::default(), writer })
    }

    /// Has a change written, with others that come at about the same time; `done` is called when that is over. Changes of a namespace are
    /// made in the order of these calls. Does not wait.
    ///
    /// # Errors
    /// When the change is too large, too many wait, or nothing is written any more. Then `done` is not called.
    pub(crate) fn commit(&self, key: Key, change: Change, done: Done) -> Result<(), StoreError> {
        let done = self.room.take(&key, &change, done)?;
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

    /// What waits for being written.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Connections that read.
    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

/// Where a path leads: SQLite has what is beside the file there.
fn followed(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_none| path.into())
}
