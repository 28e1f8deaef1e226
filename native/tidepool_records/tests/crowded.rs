//! Names can be chosen so that one shard has them all. A namespace has no more of a shard than chance would give it, for whoever looks for
//! what is not there has all of the shard read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use support::voters::put;
use support::{Place, commit, commit_all};
use tidepool_records::{Change, Key, Put, StoreError};

/// So many of a class, all in one shard.
fn in_shard(class: &str, shard: u16, count: usize) -> Vec<Key> {
    let keys = (0..).map(|word: u64| Key::new(class, word.to_string()));
    keys.filter(|key| key.shard() == shard).take(count).collect()
}

#[test]
fn a_namespace_crowds_no_shard_and_others_find_room_there() {
    for place in Place::each() {
        let records = place.open();
        let keys = in_shard("one/cart", 7, 260);
        let outcomes = commit_all(&records, keys.iter().map(|key| (key.clone(), put(1, 1))).collect());
        let is_crowded =
            |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Crowded { records: 256, .. }));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 256, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| is_crowded(outcome)).count(), 4, "{outcomes:?}");
        // Classes of one namespace count together; others, and other shards, have room.
        let other = &in_shard("one/other", 7, 1)[0];
        assert!(is_crowded(&commit(&records, other, put(1, 1))));
        for key in [&in_shard("two/cart", 7, 1)[0], &in_shard("cart", 7, 1)[0], &in_shard("one/cart", 8, 1)[0]] {
            commit(&records, key, put(1, 1)).unwrap();
        }

        // Those that are there go on, and what is asked for again is told what it was told.
        let there = keys.iter().zip(&outcomes).find(|(_key, outcome)| outcome.is_ok()).unwrap().0;
        let again = commit(&records, there, put(1, 1));
        assert!(matches!(again, Err(StoreError::OutOfOrder { stored: 1, .. })), "{again:?}");
        commit(&records, there, put(1, 2)).unwrap();
        commit(&records, there, Change::Delete { epoch: 1, seq: 2 }).unwrap();
        commit(&records, other, put(1, 1)).unwrap();
        assert_eq!(records.read(other).unwrap().unwrap().seq, 1);
    }
}

/// A module that a function has kept.
fn module(function: &str) -> Change {
    let Change::Put(put) = put(1, 1) else { unreachable!("it is one") };
    Change::Put(Put { head: function.as_bytes().to_vec(), ..put })
}

#[test]
fn modules_of_one_namespace_take_no_room_of_another_and_none_where_nobody_can_choose_their_shard() {
    for place in Place::each() {
        let records = place.open();
        let keys = in_shard("", 7, 262);
        let outcomes =
            commit_all(&records, keys.iter().take(260).map(|key| (key.clone(), module("one/cart"))).collect());
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if matches!(place, Place::Database(_)) {
            assert_eq!(made, 260, "they are all in one, whatever they are called");
        } else {
            assert_eq!(made, 256, "{outcomes:?}");
            let crowded = commit(&records, &keys[259], module("one/other")).unwrap_err();
            assert!(matches!(crowded, StoreError::Crowded { records: 256, .. }));
            assert!(!crowded.to_string().contains("actor"), "{crowded}");
        }
        // Another namespace's, and those of a function without one.
        commit(&records, &keys[260], module("two/cart")).unwrap();
        commit(&records, &keys[261], module("cart")).unwrap();
        assert_eq!(records.read(&keys[260]).unwrap().unwrap().seq, 1);
    }
}

#[test]
fn a_look_at_a_name_that_is_not_there_reads_no_heads_however_long_they_are() {
    let place = Place::File(tempfile::tempdir().unwrap());
    let records = place.open();
    let keys = in_shard("one/cart", 7, 21);
    let Change::Put(begin) = put(1, 1) else { unreachable!("it is one") };
    let long = Put { head: vec![7; 9_600], ..begin };
    for key in &keys[1..] {
        commit(&records, key, Change::Put(long.clone())).unwrap();
    }
    records.close();

    // What is beyond a row's first page is nothing that could be read.
    let path = place.file().unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let mut select =
        file.prepare("SELECT pgoffset, pgsize FROM dbstat WHERE name = 'record' AND pagetype = 'overflow'").unwrap();
    let pages: Vec<(u64, usize)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(pages.len() >= 20, "heads are as long as that");
    drop(select);
    file.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for (at, size) in pages {
        bytes[usize::try_from(at).unwrap()..][..size].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();

    let records = place.open();
    assert_eq!(records.read(&keys[0]).unwrap(), None);
    assert!(records.read(&keys[1]).is_err());
    commit(&records, &keys[0], put(1, 1)).unwrap();
}
