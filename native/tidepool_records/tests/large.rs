//! A change has a bound, whatever keeps it: one that is larger is refused, and nobody else notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use support::group::Group;
use support::voters::{made, make, owning, put};
use support::{Place, commit, commit_all};
use tidepool_records::{Change, Image, Key, Put, Records, SHARDS, StoreError};

const MOST: usize = 256 << 20;

#[test]
fn a_change_that_is_too_large_is_refused_alone_and_stops_nobody() {
    for place in Place::each() {
        let (tell, told) = mpsc::channel();
        let records = match &place {
            Place::File(_) => {
                let tell = move |why: Option<&str>| drop(tell.send(why.map(str::to_owned)));
                Records::open_told(&place.file().unwrap(), Box::new(tell)).unwrap()
            }
            Place::Voter(_) | Place::Database(_) => place.open(),
        };
        let (large, other) = (Key::new("one/class", "large"), Key::new("two/class", "other"));
        // Pages that nobody writes to take no memory.
        let image = Image::Whole(vec![0; MOST + 1].into());
        let change = Put { epoch: 1, seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        let changes = vec![
            (large.clone(), Change::Put(change.clone())),
            (other.clone(), put(1, 1)),
            (large.clone(), Change::Reset(change)),
        ];
        let outcomes = commit_all(&records, changes);
        assert!(
            matches!(
                &outcomes[..],
                [Err(StoreError::TooLarge { bytes, most: MOST, .. }), Ok(()), Err(StoreError::TooLarge { .. })]
                    if *bytes == MOST + 1
            ),
            "{outcomes:?}"
        );
        assert_eq!(records.read(&large).unwrap(), None);
        assert_eq!(records.read(&other).unwrap().unwrap().seq, 1);
        commit(&records, &large, put(1, 1)).unwrap();
        assert_eq!(told.try_recv().ok(), None, "the records stopped");
        records.close();
    }
}

#[test]
fn beside_a_large_change_small_ones_of_other_namespaces_are_made_by_the_same_voter_between_its_parts() {
    let group = Group::founded();
    let (records, epochs) = owning(&group, "a", 1, &(0..SHARDS).collect::<Vec<_>>());
    let (large, other) = (Key::new("one/class", "large"), Key::new("two/class", "other"));
    group.board.slow_mib(Duration::from_millis(30));
    // Of 32 parts.
    let (epoch, image) = (epochs[&large.shard()], Image::Whole(vec![7; 64 << 20].into()));
    let change = Put { epoch, seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|threads| {
        let beside = threads.spawn(|| {
            (1..)
                .take_while(|_| !over.load(Ordering::Acquire))
                .inspect(|seq| made(&records, &other, epochs[&other.shard()], *seq))
                .count()
        });
        make(&records, &large, 1, &Change::Put(change));
        over.store(true, Ordering::Release);
        beside.join().unwrap()
    });
    assert!(beside > 16, "{beside} changes were made beside it");
}
