//! How a snapshot is sent, by what the other one answers.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{Fatal, StreamingError};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::SnapshotResponse;
use openraft::{RaftSnapshotBuilder, Vote};
use tempfile::TempDir;

use crate::replicated::claim::Claim;
use crate::replicated::network::{Network, PART};
use crate::replicated::rpc::{Answered, Asked, Question, Said};
use crate::replicated::types::{DiskId, Member, Types, packed, unpacked};
use crate::replicated::{Answering, Links, Voter};

/// The disk of the other one.
const OTHER: DiskId = 77;

/// What the other one was asked, each within which time; and what it answers one after the other, and then nothing.
struct Other {
    asked: Mutex<Vec<(&'static str, Duration)>>,
    answers: Mutex<VecDeque<Result<Said, &'static str>>>,
}

impl Links for Other {
    fn ask(&self, _node: &str, question: Vec<u8>, within: Duration) -> Answering {
        let asked = match unpacked::<Asked>(&question).unwrap().question {
            Question::Comes(_vote) => "comes",
            Question::Part(_part) => "part",
            other => panic!("{other:?}"),
        };
        self.asked.lock().unwrap().push((asked, within));
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            match answer {
                Some(Ok(said)) => {
                    let claim = Claim { run: 1, opened: None };
                    Ok(packed(&Answered { from: OTHER, claim, said }).unwrap())
                }
                Some(Err(why)) => Err(why.into()),
                None => pending().await,
            }
        })
    }
}

/// A voter that sends one.
struct Sender {
    voter: Voter,
    other: Arc<Other>,
    _folder: TempDir,
}

impl Sender {
    fn to<const N: usize>(answers: [Result<Said, &'static str>; N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let voter = Voter::alone(folder.path(), "a").unwrap();
        let other = Arc::new(Other { asked: Mutex::default(), answers: Mutex::new(answers.into()) });
        Sender { voter, other, _folder: folder }
    }

    fn vote(&self) -> Vote<DiskId> {
        Vote::new_committed(1, self.voter.0.group.network.own)
    }

    fn send(&self) -> Result<SnapshotResponse<DiskId>, StreamingError<Types, Fatal<DiskId>>> {
        let (group, links) = (&self.voter.0.group, Arc::clone(&self.other));
        let mut network = Network { links, ..group.network.clone() };
        self.voter.0.handle.block_on(async {
            let snapshot = group.machine.clone().build_snapshot().await.unwrap();
            let mut peer = network.new_client(OTHER, &Member { node: "b".into() }).await;
            peer.full_snapshot(self.vote(), snapshot, pending(), RPCOption::new(PART)).await
        })
    }

    fn asked(&self) -> Vec<&'static str> {
        self.other.asked.lock().unwrap().iter().map(|(asked, _within)| *asked).collect()
    }
}

#[test]
fn one_that_is_away_or_takes_none_is_sent_no_part_and_no_other_snapshot_is_made_until_it_takes_one() {
    for (answer, why) in [(Err("it is away"), "it is away"), (Ok(Said::Later), "it was answered something else")] {
        let sender = Sender::to([answer, Ok(Said::Later), Err("it is away"), Ok(Said::Taken)]);
        let sent = sender.send();
        assert!(matches!(sent, Err(StreamingError::Unreachable(_))), "{sent:?}");
        assert_eq!(sender.asked(), ["comes"; 4]);
        let sends = &sender.voter.0.group.network.sends;
        assert_eq!(sends.problem(OTHER, None).as_deref(), Some(why));
        assert!(sends.under_way().is_empty(), "no entries are kept for it");
    }
}
