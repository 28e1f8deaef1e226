//! Voters that were away: they get the entries that they lack, or all of the state where these are purged.

use std::time::Duration;

use super::support::group::{Group, until};
use super::support::owner;
use super::support::voters::{key_of, made, make, owning, read, seq};
use crate::record::{Change, Image, Key, Put, SHARDS};
use crate::replicated::Voter;
use crate::replicated::voter::purge;

/// A voter of the group, which is not closed before what is returned is.
fn voter(group: &Group, node: &str) -> Voter {
    group.with(node, Voter::clone)
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
    for node in ["a", "b"] {
        let voter = voter(&group, node);
        let (raft, log) = (voter.0.group.raft.clone(), voter.0.group.log.clone());
        // Of a log that may have few bytes.
        voter.0.handle.spawn(purge(raft, log, 1 << 20, 2 << 20));
    }
    for number in 0..MANY {
        let (key, image) = (large(number), Image::Whole(image(number).into()));
        let put =
            Put { epoch: epochs[&key.shard()], seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        make(&records, &key, 1, &Change::Put(put));
    }
    for node in ["a", "b"] {
        let metrics = voter(&group, node).0.group.raft.metrics();
        until("entries are purged", || metrics.borrow().purged.is_some_and(|id| id.index > last + 1));
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

fn is_of_snapshots(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("snapshot")
}
