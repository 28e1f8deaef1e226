//! Leases, as the state of a voter has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::answered;
use super::support::group::{Group, Line, NODES, until};
use super::support::members::{change, replace};
use super::support::voters::{LONG_MS, asked, begun, key_of, made, owning, put, read, seq};
use super::support::{commit, lease, owner};
use crate::lease::{Answer, Ask, Owner, Shard};
use crate::record::{Key, StoreError};
use crate::replicated::claim::Known;
use crate::replicated::command::{Command, LeaseChange, Outcome, Refusal, Ticket, What};
use crate::replicated::{Answering, Links, Replicated, Voter};
use crate::store::Records;

#[test]
fn a_lease_counts_from_when_its_renewal_was_applied_and_not_from_when_somebody_looks() {
    const LASTS_MS: u32 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let renewed = |node: &str| {
        let records = Replicated::open(&voter, Owner { node: node.into(), incarnation: 1 }).unwrap();
        let within = Duration::from_secs(60);
        let answer =
            answered(|tell| records.lease(Ask::Renew(LASTS_MS), within, move |answer| drop(tell.send(answer))));
        let Ok(Answer::New(nodes)) = answer else { panic!("{answer:?}") };
        nodes
    };
    let asked = Instant::now();
    renewed("a");
    let told = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let least = told.elapsed();
    let nodes = renewed("b");
    let lasted = i64::from(LASTS_MS) - nodes.iter().find(|node| node.node == "a").unwrap().left_ms;
    // Not from before it was asked for, as its owner counts it.
    let (least, most) = (least.as_millis(), asked.elapsed().as_millis() + 1);
    assert!((least..=most).contains(&u128::try_from(lasted).unwrap()), "{lasted} is not from {least} to {most}");
}

/// A node's lease, as the state of another's voter has it.
fn lease_of(node: &str, group: &Group, by: &str) -> Option<(i64, i64)> {
    let voter = group.with(by, Voter::clone);
    let rows = voter.0.readers.reading(super::super::command::leases).unwrap();
    rows.into_iter().find(|row| row.node == node).map(|row| (row.incarnation, row.renewal))
}

/// Asks for a lease of a node whose voter can't apply what others have made meanwhile.
fn asked_far_behind(group: &Group, records: &Records, lasts_ms: u32) -> Result<Answer, StoreError> {
    let voter = group.with("c", Voter::clone);
    let held = voter.0.group.machine.hold();
    group.board.heal();
    let within = Duration::from_secs(2);
    let answer = answered(|tell| {
        records.lease(Ask::Renew(lasts_ms), within, move |answer| drop(tell.send(answer))).unwrap();
    });
    drop(held);
    answer
}

/// Makes one change more each time, and reads it: what was proposed by then is before it in the log, and what this reads has it.
fn making(records: &Records, key: &Key, epoch: u64) -> impl FnMut() {
    let mut seq = 0;
    move || {
        seq += 1;
        made(records, key, epoch, seq);
        assert_eq!(read(records, key), seq);
    }
}

#[test]
fn a_node_without_a_lease_is_given_none_before_its_own_disk_has_all_and_others_hear_of_none() {
    const LASTS_MS: u32 = 1_000;
    let (group, records, key, epoch) = begun();
    let mut made_one = making(&records, &key, epoch);

    // It was away, and starts.
    group.stop("c");
    made_one();
    group.board.isolate("c");
    group.start("c");
    let own = group.records("c", owner("c", 2));
    let answer = asked_far_behind(&group, &own, LASTS_MS);
    assert!(matches!(answer, Err(StoreError::Away(_))), "{answer:?}");
    made_one();
    assert_eq!(lease_of("c", &group, "a"), None);
    assert!(matches!(asked(&own, &Ask::Renew(LASTS_MS)), Answer::New(_)));

    // It was cut off for longer than its lease lasts.
    group.board.isolate("c");
    made_one();
    let (before, ended) = (lease_of("c", &group, "a"), Instant::now());
    assert!(before.is_some_and(|(incarnation, _renewal)| incarnation == 2));
    until("it has run out", || ended.elapsed() > Duration::from_millis(LASTS_MS.into()));
    let answer = asked_far_behind(&group, &own, LASTS_MS);
    assert!(matches!(answer, Err(StoreError::Away(_))), "{answer:?}");
    made_one();
    assert_eq!(lease_of("c", &group, "a"), before);
    assert!(matches!(asked(&own, &Ask::Renew(LASTS_MS)), Answer::Nodes(_)));
}

#[test]
fn a_renewal_that_nobody_was_told_of_gives_no_lease_when_it_is_applied_after_the_lease_has_run_out() {
    const LASTS_MS: u32 = 2_000;
    let (group, records, key, epoch) = begun();
    let mut made_one = making(&records, &key, epoch);
    // What it asks goes to another.
    let voter = group.with("c", Voter::clone);
    while voter.0.group.leads() {
        answered(|tell| voter.give_up_lead(Duration::from_secs(5), move || tell.send(()).unwrap_or_default()));
    }
    let own = group.records("c", owner("c", 1));
    assert!(matches!(asked(&own, &Ask::Renew(LASTS_MS)), Answer::New(_)));
    let leased = lease_of("c", &group, "a");

    // It is heard, and hears nothing: neither that its lease was renewed, nor what is made from then on.
    ["a", "b"].iter().for_each(|other| group.board.cut(other, "c"));
    let within = Duration::from_secs(1);
    let answer =
        answered(|tell| own.lease(Ask::Renew(LASTS_MS), within, move |answer| drop(tell.send(answer))).unwrap());
    assert!(matches!(answer, Err(StoreError::Unknown(_))), "{answer:?}");
    let cut = Instant::now();
    until("it was renewed", || lease_of("c", &group, "a") != leased);
    let renewed = lease_of("c", &group, "a");
    until("it has run out", || cut.elapsed() > Duration::from_millis(LASTS_MS.into()));
    made_one();

    // Its disk has the renewal now, and not yet what was made after it.
    group.board.heal();
    until("it has the renewal", || lease_of("c", &group, "c") == renewed);
    group.board.isolate("c");
    made_one();
    let answer = asked_far_behind(&group, &own, LASTS_MS);
    assert!(matches!(answer, Err(StoreError::Away(_))), "{answer:?}");
    made_one();
    assert_eq!(lease_of("c", &group, "a"), renewed);
    assert!(matches!(asked(&own, &Ask::Renew(LASTS_MS)), Answer::Nodes(_)));
}

/// The links of a voter, until it is cut off from all others.
struct Cut {
    line: Line,
    is_cut: Arc<AtomicBool>,
}

impl Links for Cut {
    fn ask(&self, node: &str, question: Vec<u8>, within: Duration) -> Answering {
        if self.is_cut.load(Ordering::Acquire) {
            return Box::pin(async { Err("it is not to be reached".into()) });
        }
        self.line.ask(node, question, within)
    }
}

#[test]
fn a_start_by_another_disk_has_neither_the_name_nor_the_shards_before_the_lease_of_one_that_may_live_is_over() {
    const LASTS_MS: u32 = 5_000;
    let group = Group::of(&["a", "b"]);
    let is_cut = Arc::new(AtomicBool::new(false));
    let line = || Line { board: Arc::clone(&group.board), from: "c".into() };
    let opened = |folder: &str, links: Arc<dyn Links>| {
        std::fs::create_dir_all(group.folder(folder)).unwrap();
        let voter = Voter::open(&group.folder(folder), "c", &NODES.map(String::from), links).unwrap();
        group.insert("c", voter.clone());
        voter
    };
    let before = opened("c", Arc::new(Cut { line: line(), is_cut: Arc::clone(&is_cut) }));
    NODES.iter().for_each(|node| group.until_member(node));
    let key = key_of(2, 0);
    let (earlier, epochs) = owning(&group, "c", 1, &[key.shard()]);
    let epoch = epochs[&key.shard()];
    made(&earlier, &key, epoch, 1);

    // It is cut off, and lives; another disk is a member in its place.
    let renewed = Instant::now();
    asked(&earlier, &Ask::Renew(LASTS_MS));
    is_cut.store(true, Ordering::Release);
    let another = opened("another", Arc::new(line()));
    change(&group, "a", &replace("c")).unwrap();
    group.until_member("c");
    assert_ne!(another.0.group.network.own, before.0.group.network.own);
    let later = group.records("c", owner("c", 2));
    // On a busy machine all of this may last as long as the lease.
    let is_soon = renewed.elapsed() < Duration::from_millis(LASTS_MS.into()) / 2;
    let mut refused = 0;
    loop {
        match lease(&later, Ask::Renew(LASTS_MS)) {
            // The earlier one answers of what it has until then.
            Err(StoreError::Replaced(_)) => {
                refused += 1;
                let Answer::Shards(shards) = asked(&later, &Ask::Shards) else { panic!("they are told") };
                let own = Shard { id: key.shard(), epoch, owner: Some("c".into()) };
                assert!(shards.contains(&own) && seq(&earlier, &key).unwrap() == 1);
                let claimed = lease(&later, Ask::Claim(vec![key.shard()]));
                assert!(matches!(claimed, Err(StoreError::NoLease(_) | StoreError::Away(_) | StoreError::Unknown(_))));
            }
            Err(StoreError::Away(_) | StoreError::Unknown(_)) => {}
            Ok(Answer::New(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(renewed.elapsed() >= Duration::from_millis(LASTS_MS.into()));
    assert!(refused > 0 || !is_soon);
    let Answer::Moved(moved) = asked(&later, &Ask::Claim(vec![key.shard()])) else { panic!("they are told") };
    assert!(moved.iter().any(|(shard, now)| *shard == key.shard() && *now > epoch));
    earlier.close();
    drop(before);
}

#[test]
fn a_later_start_by_the_same_disk_has_the_name_at_once_however_long_the_lease_of_the_one_before_lasts() {
    let group = Group::founded();
    let key = key_of(2, 0);
    for incarnation in 1..=3 {
        let (records, epochs) = owning(&group, "c", incarnation, &[key.shard()]);
        commit(&records, &key, put(epochs[&key.shard()], u64::try_from(incarnation).unwrap())).unwrap();
        records.close();
        group.stop("c");
        group.start("c");
    }
    // Another node by this voter has had none yet.
    let records = group.records("c", owner("d", 1));
    assert!(matches!(asked(&records, &Ask::Renew(LONG_MS)), Answer::New(_)));
    // A start of it by another voter has not the name of one that may live.
    let other = group.records("a", owner("d", 2));
    let refused = loop {
        match lease(&other, Ask::Renew(LONG_MS)) {
            Err(StoreError::Away(_) | StoreError::Unknown(_)) => {}
            answer => break answer,
        }
    };
    assert!(matches!(refused, Err(StoreError::Replaced(_))), "{refused:?}");
    [records, other].into_iter().for_each(Records::close);
}

#[test]
fn a_renewal_of_a_release_before_comes_to_what_it_came_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let mut number = 0;
    let mut written = |incarnation: i64, known: bool| {
        number += 1;
        let owner = Owner { node: "a".into(), incarnation };
        let disk = Known { disk: 7, run: 7, had: None };
        let what = What::Lease(LeaseChange::Renew { known, over: None, forget: Vec::new(), disk });
        let ticket = Ticket { session: 1, number };
        let command = Command { owner, ticket, what };
        voter.0.handle.block_on(voter.0.group.raft.client_write(command.into())).unwrap().data
    };
    assert_eq!(written(1, false), Outcome::Renewed { is_new: true });
    assert_eq!(written(1, true), Outcome::Renewed { is_new: false });
    assert_eq!(written(2, true), Outcome::Refused(Refusal::Replaced("a".into())));
    assert_eq!(written(2, false), Outcome::Renewed { is_new: true });
}
