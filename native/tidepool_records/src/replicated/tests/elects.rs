//! Which voters ask for votes: members do, unless a snapshot comes to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, Membership, Vote};
use tokio::time::Instant;

use super::away::{leading, said};
use super::support::group::{Group, until};
use super::support::voters::{key_of, made, owning};
use crate::replicated::Voter;
use crate::replicated::claim::Claim;
use crate::replicated::network::Alone;
use crate::replicated::rpc::{Answered, Asked, Question, Said};
use crate::replicated::types::{Member, packed, unpacked};

/// As when a voter was told long ago that a snapshot comes.
pub(super) fn told_long_ago(voter: &Voter) {
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    *voter.0.group.taking.lock().unwrap() = Some(long_ago);
}

#[test]
fn a_voter_asks_for_votes_again_that_was_not_told_for_long_that_a_snapshot_comes() {
    let group = Group::founded();
    let key = key_of(0, 0);
    let (records, epochs) = owning(&group, "a", 1, &[key.shard()]);
    group.stop("c");
    made(&records, &key, epochs[&key.shard()], 1);
    records.close();
    let (leader, other) = leading(&group, &["a", "b"]);
    let (vote, node) = (leader.0.group.raft.metrics().borrow().vote, leader.0.group.own.node.clone());
    assert!(matches!(said(&leader, &other, Question::Comes(vote)), Ok(Said::Taken)));
    drop(leader);
    group.stop(&node);
    // It lacks the change, and can't be elected.
    group.start("c");
    told_long_ago(&other);
    until("it leads", || other.0.group.leads());
}

#[test]
fn a_voter_asks_for_votes_that_became_a_member_after_a_snapshot_that_never_came() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = ["a", "b", "c"].map(String::from);
    let voter = Voter::open(folder.path(), "a", &nodes, Arc::new(Alone)).unwrap();
    let group = &voter.0.group;
    // As the voter that leads.
    let said = |question| {
        let claim = Claim { run: 1, opened: None };
        let asked = packed(&Asked { from: 77, claim, to: None, known: None, question }).unwrap();
        unpacked::<Answered>(&voter.0.handle.block_on(group.answer("b", &asked))).unwrap().said
    };
    let vote = Vote::new_committed(1, 77);
    assert!(matches!(said(Question::Comes(vote)), Said::Taken));
    told_long_ago(&voter);
    until("it waits for no snapshot", || group.taking.lock().unwrap().is_none());
    // It gets entries in its place, and those are all.
    let disks = [group.network.own, 77, 78];
    let members = disks.into_iter().zip(nodes).map(|(disk, node)| (disk, Member { node }));
    let members = Membership::new(vec![BTreeSet::from(disks)], members.collect::<BTreeMap<_, _>>());
    let log_id = LogId::new(CommittedLeaderId::new(1, 77), 0);
    let entries = vec![Entry { log_id, payload: EntryPayload::Membership(members) }];
    let append = AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit: None };
    assert!(matches!(said(Question::Append(append)), Said::Append(AppendEntriesResponse::Success)));
    until("it asks for votes", || group.raft.metrics().borrow().current_term > 1);
}
