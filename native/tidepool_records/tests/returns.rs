//! A database that goes back in time, as one that is restored from a backup: nothing counts of what nodes have known of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use support::postgres::Server;
use support::{commit, lease, open};
use tidepool_records::{Answer, Ask, Change, Image, Key, Put, StoreError};

const LONG_MS: u32 = 3_600_000;

fn put(epoch: u64, seq: u64) -> Change {
    let image = Image::Whole(seq.to_le_bytes().to_vec().into());
    Change::Put(Put { epoch, seq, alarm_at: None, head: Vec::new(), image, values: Vec::new() })
}

#[test]
fn a_node_owns_nothing_of_a_database_that_has_gone_back_and_gets_epochs_that_it_has_not_had() {
    let mut server = Server::start();
    let records = open(&server.database());
    let key = Key::new("counter", "alice");
    commit(&records, &key, put(1, 1)).unwrap();
    let renewed = || lease(&records, Ask::Renew(LONG_MS));
    assert!(matches!(renewed(), Ok(Answer::Nodes(_))));
    server.tell("save");
    // One that was only away is as it was.
    while !matches!(renewed(), Ok(Answer::Nodes(_))) {}
    commit(&records, &key, put(1, 2)).or_else(|_lost| commit(&records, &key, put(1, 2))).unwrap();
    server.tell("return");
    let nodes = loop {
        match renewed() {
            Err(StoreError::Away(_)) => {}
            Ok(Answer::New(nodes)) => break nodes,
            other => panic!("{other:?}"),
        }
    };
    assert!(nodes.iter().all(|node| node.left_ms > 0), "{nodes:?}");
    assert!(matches!(renewed(), Ok(Answer::Nodes(_))), "it has a lease from then on");
    assert!(matches!(commit(&records, &key, put(1, 2)), Err(StoreError::Fenced { .. })));
    let Ok(Answer::Moved(claimed)) = lease(&records, Ask::Claim(vec![key.shard()])) else { panic!() };
    let epoch = claimed[0].1;
    assert!(epoch > 1);
    assert_eq!(records.read(&key).unwrap().unwrap().seq, 1);
    commit(&records, &key, put(epoch, 2)).unwrap();
}
