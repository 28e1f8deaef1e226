//! How a snapshot is sent, by what the other one answers.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::SnapshotResponse;
use openraft::{RaftSnapshotBuilder, Vote};
use tempfile::TempDir;

use super::support::group::until;
use crate::replicated::claim::Claim;
use crate::replicated::group::TAKING;
use crate::replicated::network::{COMES, Network, PART};
use crate::replicated::rpc::{Answered, Asked, Question, Said};
use crate::replicated::types::{DiskId, Member, packed, unpacked};
use crate::replicated::{Answering, Links, Voter};

/// The disk of the other one.
const OTHER: DiskId = 77;

/// What the other one was asked, each within which time; and what it answers, by that and by how often it was asked.
struct Other {
    asked: Mutex<Vec<(&'static str, Duration)>>,
    answer: Box<dyn Fn(&'static str, usize) -> Result<Said, &'static str> + Send + Sync>,
}

impl Links for Other {
    fn ask(&self, _node: &str, question: Vec<u8>, within: Duration) -> Answering {
        let asked = match unpacked::<Asked>(&question).unwrap().question {
            Question::Comes(_vote) => "comes",
            Question::Part(_part) => "part",
            other => panic!("{other:?}"),
        };
        let nth = {
            let mut all = self.asked.lock().unwrap();
            all.push((asked, within));
            all.len()
        };
        let claim = Claim { run: 1, opened: None };
        let answer = (self.answer)(asked, nth).map(|said| packed(&Answered { from: OTHER, claim, said }).unwrap());
        Box::pin(ready(answer.map_err(Arc::<str>::from)))
    }
}

/// By which it is sent.
fn vote() -> Vote<DiskId> {
    Vote::new_committed(1, 7)
}

/// A voter that sends one.
struct Sender {
    voter: Voter,
    other: Arc<Other>,
    _folder: TempDir,
}

impl Sender {
    fn to(answer: impl Fn(&'static str, usize) -> Result<Said, &'static str> + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let voter = Voter::alone(folder.path(), "a").unwrap();
        let other = Arc::new(Other { asked: Mutex::default(), answer: Box::new(answer) });
        Sender { voter, other, _folder: folder }
    }

    /// The vote that is answered, or that it is to be tried again.
    fn send(&self) -> Result<Vote<DiskId>, String> {
        let (group, links) = (&self.voter.0.group, Arc::clone(&self.other));
        let mut network = Network { links, ..group.network.clone() };
        self.voter.0.handle.block_on(async {
            let snapshot = group.machine.clone().build_snapshot().await.unwrap();
            let mut peer = network.new_client(OTHER, &Member { node: "b".into() }).await;
            let sent = peer.full_snapshot(vote(), snapshot, pending(), RPCOption::new(PART)).await;
            sent.map(|answer| answer.vote).map_err(|error| error.to_string())
        })
    }

    fn asked(&self) -> Vec<&'static str> {
        self.other.asked.lock().unwrap().iter().map(|(asked, _within)| *asked).collect()
    }
}

#[test]
fn one_that_is_away_or_takes_none_is_sent_no_part_and_no_other_snapshot_is_made_until_it_takes_one() {
    for (is_away, why) in [(true, "it is away"), (false, "it was answered something else")] {
        let sender = Sender::to(move |_asked, nth| match nth {
            1 if is_away => Err("it is away"),
            1 | 2 => Ok(Said::Later),
            3 => Err("it is away"),
            _more => Ok(Said::Taken),
        });
        let sent = sender.send();
        assert!(sent.as_ref().is_err_and(|error| error.contains(why)), "{sent:?}");
        assert_eq!(sender.asked(), ["comes"; 4]);
        let sends = &sender.voter.0.group.network.sends;
        assert_eq!(sends.problem(OTHER, None).as_deref(), Some(why));
        assert!(sends.under_way().is_empty(), "no entries are kept for it");
    }
}

#[test]
fn copies_are_made_one_at_a_time_and_who_waits_for_one_is_told_meanwhile_that_it_comes() {
    let sender = Sender::to(|asked, _nth| match asked {
        "comes" => Ok(Said::Taken),
        _part => Ok(Said::Snapshot(SnapshotResponse::new(vote()))),
    });
    let sent = std::thread::scope(|threads| {
        let copying = Arc::clone(&sender.voter.0.group.network.sends.copying).try_lock_owned().unwrap();
        let sent = threads.spawn(|| sender.send());
        until("it is told again", || sender.asked().len() > 1);
        assert!(!sender.asked().contains(&"part"));
        drop(copying);
        sent.join().unwrap()
    });
    assert_eq!(sent, Ok(vote()));
    assert!(sender.asked().contains(&"part"));
    let (_comes, within) = sender.other.asked.lock().unwrap()[1];
    assert!((COMES + within) * 2 < TAKING, "one that is lost is told again while the other waits");
}

#[test]
fn no_entries_are_kept_for_a_voter_that_has_heard_of_another_leader_instead_of_getting_a_snapshot() {
    let higher = Vote::new_committed(2, 8);
    let sender = Sender::to(move |_asked, _nth| Ok(Said::Snapshot(SnapshotResponse::new(higher))));
    assert_eq!(sender.send(), Ok(higher));
    let known = BTreeMap::from([(OTHER, None)]);
    assert_eq!(sender.voter.0.group.network.sends.purged(1_000, 0, Some(&known)), 1_000);
}
