//! A change that waits for being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::change::Change;
use super::error::StoreError;
use super::key::Key;

/// Changes that may wait, and the bytes that they hold together.
pub(crate) const QUEUE: usize = 16_384;
const QUEUE_BYTES: usize = 512 << 20;
/// How much is committed at once: at most so many changes, and no more when they hold so many bytes.
const BATCH: usize = 4_096;
const BATCH_BYTES: usize = 16 << 20;

/// Is told when a change is durable, or why it is not. Called by the thread that writes, so it is to be short.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) change: Change,
    pub(crate) done: Done,
}

/// How many bytes may wait.
#[derive(Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// Bytes of a change that waits, or is being written.
struct Held(Arc<AtomicUsize>, usize);

impl Room {
    /// Takes room for a change that waits from now on, until it is done. One that is larger than all may be waits alone.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when there is none.
    pub(crate) fn take(&self, change: &Change, done: Done) -> Result<Done, StoreError> {
        let bytes = change.bytes();
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let held = Held(Arc::clone(&self.0), bytes);
        if before > 0 && before.saturating_add(bytes) > QUEUE_BYTES {
            return Err(StoreError::Overloaded);
        }
        Ok(Box::new(move |outcome| {
            drop(held);
            done(outcome);
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What has come by now, as far as it is to be written together.
pub(crate) fn piled_up(first: Job, mut next: impl FnMut() -> Option<Job>) -> Vec<Job> {
    let mut bytes = first.change.bytes();
    let mut jobs = vec![first];
    while jobs.len() < BATCH && bytes < BATCH_BYTES {
        let Some(job) = next() else { break };
        bytes += job.change.bytes();
        jobs.push(job);
    }
    jobs
}
