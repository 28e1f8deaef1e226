//! The task that writes.

use tokio::sync::mpsc::Receiver;

use super::connector::Connector;
use super::group::Session;
use crate::lease::Owner;
use crate::record::{Batch, Change, FairQueue, Job, StoreError, TRANSACTION, is_refusal};

/// Writes what comes, until nothing more can come.
pub(super) async fn write_all(connector: &Connector, owner: &Owner, mut queue: Receiver<Job>) {
    let (mut session, mut waiting) = (None, FairQueue::default());
    let mut changes = TRANSACTION.changes;
    while waiting.has_some(&mut queue).await {
        // What each replaces is known once it is read: where that is much, no more are read than can be made.
        let mut jobs = waiting.batch(Batch { changes, ..TRANSACTION }, |_job| 0);
        let mut outcomes = Vec::with_capacity(jobs.len());
        // What erases is alone.
        for jobs in jobs.chunk_by(|one, next| !erases(one) && !erases(next)) {
            let mut together = written(connector, owner, &mut session, jobs).await;
            if jobs.len() > 1 && was_unreadable(&together) {
                // One page that can't be read is not to stop those who don't need it: nothing of these was written.
                let jobs = jobs.iter().take(together.len());
                together = Vec::new();
                for job in jobs {
                    together.append(&mut written(connector, owner, &mut session, std::slice::from_ref(job)).await);
                }
            }
            let is_all = together.len() >= jobs.len();
            outcomes.append(&mut together);
            if !is_all {
                break;
            }
        }
        let made = if outcomes.len() < jobs.len() { outcomes.len() } else { changes };
        changes = made.saturating_mul(2).clamp(1, TRANSACTION.changes);
        // Others have their turn before those that are left.
        waiting.put_back(jobs.split_off(outcomes.len().min(jobs.len())));
        jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| (job.done)(outcome));
    }
}

/// Was a whole transaction given up, for something in the database that can't be read?
fn was_unreadable(outcomes: &[Result<(), StoreError>]) -> bool {
    outcomes.iter().all(Result::is_err) && outcomes.iter().any(|outcome| matches!(outcome, Err(StoreError::Corrupt(_))))
}

fn erases(job: &Job) -> bool {
    matches!(job.change, Change::Erase { .. })
}

/// Commits the first of the changes, as many as are made at once, by the session that there is, or else by a new one. What may have been
/// written is never sent again.
async fn written(
    connector: &Connector,
    owner: &Owner,
    session: &mut Option<Session>,
    jobs: &[Job],
) -> Vec<Result<(), StoreError>> {
    let writes = match session.take().filter(|session| !session.is_lost()) {
        Some(session) => session,
        None => match Session::new(connector).await {
            Ok(session) => session,
            Err(error) => return vec![Err(error); jobs.len()],
        },
    };
    let outcomes = match jobs {
        [Job { key, change: Change::Erase { epoch }, .. }] => vec![writes.erase(owner, key, *epoch).await],
        jobs => writes.commit(owner, jobs).await,
    };
    if outcomes.iter().all(|outcome| outcome.as_ref().err().is_none_or(is_refusal)) {
        *session = Some(writes);
    }
    outcomes
}
