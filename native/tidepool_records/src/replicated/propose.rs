//! Proposing: the changes that have piled up are one entry, and the next is proposed when that was applied.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Raft, ServerState};
use tokio::sync::mpsc::Receiver;

use super::command::{Command, Outcome};
use super::log::Log;
use super::machine::Machine;
use super::types::Types;
use super::voter::Voter;
use crate::lease::Owner;
use crate::record::{Batch, Job, StoreError, piled_up};

/// What an entry has at most, unless one change has more: voters send each as a whole.
const ENTRY: Batch = Batch { changes: 256, bytes: 1 << 20 };
/// How long an entry may take.
const COMMIT: Duration = Duration::from_secs(10);

/// Proposes entries for a voter that leads.
#[derive(Clone)]
pub(super) struct Proposer {
    raft: Raft<Types>,
    log: Log,
    machine: Machine,
}

impl Proposer {
    pub(super) fn new(voter: &Voter) -> Self {
        Proposer { raft: voter.0.raft.clone(), log: voter.0.log.clone(), machine: voter.0.machine.clone() }
    }

    /// Proposes a command. What comes of it, once it was applied.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Away`] and [`StoreError::Stopped`] when it was not proposed, [`StoreError::Unknown`] when it
    /// was, and nobody knows what has become of it.
    pub(super) async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        if self.log.is_full() || self.machine.is_full() {
            return Err(StoreError::Full);
        }
        self.leads()?;
        match tokio::time::timeout(COMMIT, self.raft.client_write(Arc::new(command))).await {
            Ok(Ok(response)) => Ok(response.data),
            // A leader that is one no more says so of what it has proposed as well as of what it has not.
            Ok(Err(error)) => Err(StoreError::Unknown(error.to_string().into())),
            Err(_late) => {
                let why = format!("no majority has answered within {} s", COMMIT.as_secs());
                Err(StoreError::Unknown(why.into()))
            }
        }
    }

    /// Does this voter lead?
    fn leads(&self) -> Result<(), StoreError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if let Err(error) = &metrics.running_state {
            return Err(StoreError::Stopped(error.to_string().into()));
        }
        if metrics.state == ServerState::Leader {
            return Ok(());
        }
        Err(StoreError::Away("no voter leads at the moment".into()))
    }
}

/// Writes what comes, until nothing more can come.
pub(super) async fn write_all(proposer: Proposer, owner: Owner, mut queue: Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        let jobs = piled_up(first, ENTRY, || queue.try_recv().ok());
        let (changes, done): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| ((job.key, job.change), job.done)).unzip();
        let outcome = proposer.propose(Command::Commit { owner: owner.clone(), changes }).await;
        let mut outcomes = match outcome {
            Ok(Outcome::Committed(outcomes)) => Ok(outcomes.into_iter()),
            Ok(_of_another_command) => Err(StoreError::Unknown("it was answered as another command".into())),
            Err(error) => Err(error),
        };
        for done in done {
            done(match &mut outcomes {
                Ok(outcomes) => outcomes.next().flatten().map_or(Ok(()), |refusal| Err(refusal.into())),
                Err(error) => Err(error.clone()),
            });
        }
    }
}
