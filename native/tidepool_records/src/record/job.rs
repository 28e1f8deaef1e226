//! A change that waits for being written.

use super::change::Change;
use super::error::StoreError;
use super::key::Key;

/// Changes that may wait.
pub(crate) const QUEUE: usize = 16_384;
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
