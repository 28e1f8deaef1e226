//! Voters that were away: they get the entries that they lack, or all of the state where these are purged.

use std::sync::Arc;
use std::time::Duration;

use openraft::{SnapshotMeta, Vote};

use super::elects::told_long_ago;
use super::support::group::{Group, NODES, until};
use super::support::owner;
use super::support::voters::{key_of, made, make, owning, read, seq};
use crate::record::{Change, Image, Key, Put, SHARDS, finish, hasher};
use crate::replicated::Voter;
use crate::replicated::network::PART;
use crate::replicated::rpc::{Part, Question, Said};
use crate::replicated::types::{DiskId, Member};
use crate::replicated::voter::purge_but;

/// A voter of the group, which is not closed before what is returned is.
fn voter(group: &Group, node: &str) -> Voter {
    group.with(node, Voter::clone)
}

/// One of these voters that leads, and one that does not.
pub(super) fn leading(group: &Group, nodes: &[&str]) -> (Voter, Voter) {
    let leads = |node: &str| voter(group, node).0.group.leads();
    until("one leads", || nodes.iter().any(|node| leads(node)));
    let (leaders, others): (Vec<&str>, Vec<&str>) = nodes.iter().copied().partition(|node| leads(node));
    (voter(group, leaders[0]), voter(group, others[0]))
}

/// What a voter says that another one asks.
pub(super) fn said(from: &Voter, to: &Voter, question: Question) -> Result<Said, Arc<str>> {
    let Member { node } = &to.0.group.own;
    from.0.handle.block_on(from.0.group.network.ask(node, Some(to.0.group.network.own), question, PART))
}

/// Ten bytes of a snapshot that has so many.
fn part(vote: Vote<DiskId>, at: u64, length: u64, id: &str) -> Part {
    let meta = SnapshotMeta { snapshot_id: id.into(), ..SnapshotMeta::default() };
    Part { vote, meta, at, bytes: vec![7; 10], length, whole: None }
}

/// Has a voter purge its log but for the last entries that have so many bytes, as one that has become long, and says up to where that is.
fn purged_but(group: &Group, node: &str, kept: u64) -> u64 {
    let voter = voter(group, node);
    let metrics = voter.0.group.raft.metrics();
    let last = metrics.borrow().last_applied.unwrap().index;
    voter.0.handle.block_on(voter.0.group.raft.trigger().snapshot()).unwrap();
    until("it has a snapshot", || metrics.borrow().snapshot.is_some_and(|id| id.index >= last));
    let purges = voter.0.handle.block_on(purge_but(&voter.0.group, kept)).unwrap();
    until("it is purged", || metrics.borrow().purged.map_or(0, |id| id.index) >= purges);
    purges
}

#[test]
fn a_voter_that_was_away_for_long_gets_the_entries_that_it_lacks() {
    let group = Group::founded();
    let key = key_of(0, 0);
    let (records, epochs) = owning(&group, "a", 1, &[key.shard()]);
    group.stop("c");
    let last = group.last_entry("c");
    (1..=1_200).for_each(|seq| made(&records, &key, epochs[&key.shard()], seq));
    // As when the log has become long.
    for node in ["a", "b"] {
        let voter = voter(&group, node);
        voter.0.handle.block_on(voter.0.group.raft.trigger().snapshot()).unwrap();
        let metrics = voter.0.group.raft.metrics();
        until("it has a snapshot", || metrics.borrow().snapshot.is_some_and(|id| id.index > last + 1_000));
    }
    // What is to be purged is so once the one that leads has found the third away another time, some times a second.
    std::thread::sleep(Duration::from_millis(500));
    group.start("c");
    let reader = group.records("c", owner("c", 1));
    until("it has the state", || seq(&reader, &key).is_ok_and(|seq| seq == 1_200));
    // A log that was purged of all has a first entry again.
    made(&records, &key, epochs[&key.shard()], 1_201);
    assert_eq!(read(&reader, &key), 1_201);
    reader.close();
    group.stop("c");
    assert!(group.first_entry("c") <= last + 1, "it has come as entries");
}

#[test]
fn a_voter_that_was_away_while_entries_were_purged_gets_all_of_the_state() {
    const MANY: u64 = 60;
    let group = Group::founded();
    let (records, epochs) = owning(&group, "a", 1, &(0..SHARDS).collect::<Vec<_>>());
    let first = key_of(0, 0);
    made(&records, &first, epochs[&first.shard()], 1);
    group.stop("c");
    let last = group.last_entry("c");
    let large = |number: u64| Key::new("counter", format!("large {number}"));
    let image = |number: u64| vec![u8::try_from(number).unwrap(); 64 << 10];
    for number in 0..MANY {
        let (key, image) = (large(number), Image::Whole(image(number).into()));
        let put =
            Put { epoch: epochs[&key.shard()], seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        make(&records, &key, 1, &Change::Put(put));
    }
    for node in ["a", "b"] {
        assert!(purged_but(&group, node, 2 << 20) > last + 1);
    }
    // Parts of it are lost, or come late or twice.
    group.board.faults(Some(1));
    group.start("c");
    let reader = group.records("c", owner("c", 1));
    until("it has the state", || reader.head(&large(MANY - 1)).is_ok_and(|head| head.is_some()));
    group.board.faults(None);
    assert_eq!(read(&reader, &first), 1);
    for number in 0..MANY {
        assert_eq!(reader.read(&large(number)).unwrap().unwrap().images, [image(number)]);
    }
    // It goes on from there: with it and without another.
    group.stop("b");
    made(&records, &first, epochs[&first.shard()], 2);
    assert_eq!(read(&reader, &first), 2);
    reader.close();
    group.stop("c");
    assert!(group.first_entry("c") > last + 1, "it has come as a state, not as entries");
    assert_eq!(std::fs::read_dir(group.folder("c")).unwrap().filter(is_of_snapshots).count(), 0);
    group.start("c");
    until("it starts from there", || seq(&group.records("c", owner("c", 2)), &first).is_ok_and(|seq| seq == 2));
}

#[test]
fn entries_after_a_snapshot_are_kept_for_as_long_as_it_is_on_its_way() {
    let group = Group::founded();
    let key = key_of(0, 0);
    let (records, epochs) = owning(&group, "a", 1, &(0..SHARDS).collect::<Vec<_>>());
    group.stop("c");
    let last = group.last_entry("c");
    // Two parts.
    for number in 0..24 {
        let (key, image) = (Key::new("counter", format!("large {number}")), Image::Whole(vec![7; 64 << 10].into()));
        let put =
            Put { epoch: epochs[&key.shard()], seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        make(&records, &key, 1, &Change::Put(put));
    }
    for node in ["a", "b"] {
        assert!(purged_but(&group, node, 100 << 10) > last + 1);
    }
    let leader = ["a", "b"].into_iter().find(|node| voter(&group, node).0.group.leads()).unwrap();
    let sends = voter(&group, leader).0.group.network.sends.clone();

    group.board.slow_mib(Duration::from_secs(4));
    group.start("c");
    let of = || sends.under_way();
    // One that was made while it could not be asked is not sent.
    let is_told = || voter(&group, "c").0.group.taking.lock().unwrap().is_some();
    until("a snapshot is on its way", || is_told() && !of().is_empty());
    let entry = of()[0];
    let term = voter(&group, leader).0.group.raft.metrics().borrow().current_term;
    (1..=40).for_each(|seq| made(&records, &key, epochs[&key.shard()], seq));
    assert_eq!((purged_but(&group, leader, 1 << 10), of()), (entry, vec![entry]));
    group.board.slow_mib(Duration::ZERO);
    let reader = group.records("c", owner("c", 1));
    until("it has the state", || seq(&reader, &key).is_ok_and(|seq| seq == 40));
    reader.close();
    let metrics = voter(&group, "c").0.group.raft.metrics();
    until("its log begins behind the snapshot", || metrics.borrow().purged.is_some());
    let purged = metrics.borrow().purged.map(|id| id.index);
    assert_eq!(purged, Some(entry), "those after it have come as entries, and not with another");
    assert_eq!(metrics.borrow().current_term, term, "nobody has asked for votes");
}

#[test]
fn parts_of_a_snapshot_go_on_after_those_that_are_there_and_none_is_taken_without_room_for_all() {
    let group = Group::founded();
    let (from, to) = leading(&group, &NODES);
    let (vote, other) = (from.0.group.raft.metrics().borrow().vote, &to.0.group.own.node);
    let part = |at, length, id| said(&from, &to, Question::Part(part(vote, at, length, id)));
    let why = part(0, 1 << 60, "one").unwrap_err();
    assert!(why.contains(&format!("on the disk of {other}")), "{why}");
    assert_eq!(std::fs::read_dir(group.folder(other)).unwrap().filter(is_of_snapshots).count(), 0);
    let wanted = |said: Result<Said, _>| match said.unwrap() {
        Said::Taken => None,
        Said::Wanted(at) => Some(at),
        other => panic!("{other:?}"),
    };
    let asked = [(10, "one"), (0, "one"), (0, "one"), (20, "one"), (10, "one"), (20, "other"), (20, "one")];
    let said = asked.map(|(at, id)| wanted(part(at, 100, id)));
    assert_eq!(said, [Some(0), None, None, Some(10), None, Some(0), None]);
}

#[test]
fn a_part_says_that_a_snapshot_comes_and_one_of_a_voter_that_leads_no_more_takes_the_place_of_no_other() {
    let group = Group::founded();
    let (from, to) = leading(&group, &NODES);
    let vote = from.0.group.raft.metrics().borrow().vote;
    let part = |vote, at, id| said(&from, &to, Question::Part(part(vote, at, 100, id)));
    let is_told = || to.0.group.taking.lock().unwrap().is_some();
    assert!(!is_told());
    assert!(matches!(part(vote, 0, "one"), Ok(Said::Taken)));
    assert!(is_told(), "it asks for no votes");
    let before = Vote::new(0, from.0.group.network.own);
    let answer = part(before, 0, "other");
    assert!(matches!(&answer, Ok(Said::Snapshot(higher)) if higher.vote > before), "{answer:?}");
    assert!(matches!(part(vote, 10, "one"), Ok(Said::Taken)), "it goes on");
}

#[test]
fn what_was_received_of_a_snapshot_goes_when_it_is_not_what_was_sent_and_when_no_more_of_it_comes() {
    let group = Group::founded();
    let (from, to) = leading(&group, &NODES);
    let (vote, other) = (from.0.group.raft.metrics().borrow().vote, &to.0.group.own.node);
    let files = || std::fs::read_dir(group.folder(other)).unwrap().filter(is_of_snapshots).count();
    let part = |at, length, whole| said(&from, &to, Question::Part(Part { whole, ..part(vote, at, length, "one") }));
    let why = part(0, 10, Some([0; 16])).unwrap_err();
    assert!(why.contains("not what it was sent"), "{why}");
    assert_eq!(files(), 0);
    let mut digest = hasher("snapshot");
    digest.update(&[7; 10]);
    assert!(part(0, 10, Some(finish(&digest))).is_err(), "it is what was sent, and no snapshot");
    assert_eq!(files(), 0);
    assert!(matches!(part(0, 100, None), Ok(Said::Taken)));
    assert_eq!(files(), 1);
    told_long_ago(&to);
    until("it is gone", || files() == 0);
    assert!(matches!(part(10, 100, None), Ok(Said::Wanted(0))), "it begins anew");
}

fn is_of_snapshots(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("snapshot")
}
