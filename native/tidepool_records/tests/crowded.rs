//! Names can be chosen so that one shard has them all. A namespace has no more of a shard than chance would give it, for whoever looks for
//! what is not there has all of the shard read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use support::voters::put;
use support::{Place, commit, commit_all};
use tidepool_records::{Change, Key, StoreError};

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
