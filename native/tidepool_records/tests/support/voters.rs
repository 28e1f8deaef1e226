//! Records that voters keep together, and who writes to them.

use std::collections::HashMap;

use super::group::{Group, NODES};
use super::{commit, lease, owner};
use tempfile::TempDir;
use tidepool_records::{Answer, Ask, Change, Image, Key, Put, Records, SHARDS, StoreError};

pub(crate) const LONG_MS: u32 = 3_600_000;

pub(crate) fn image(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(200)
}

pub(crate) fn put(epoch: u64, seq: u64) -> Change {
    let image = Image::Whole(image(seq).into());
    Change::Put(Put { epoch, seq, alarm_at: None, head: seq.to_le_bytes().to_vec(), image, values: Vec::new() })
}

/// Asks until a voter leads.
pub(crate) fn asked(records: &Records, ask: &Ask) -> Answer {
    loop {
        match lease(records, ask.clone()) {
            Ok(answer) => return answer,
            Err(StoreError::Away(_) | StoreError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A node that has a lease, and these shards by these epochs.
pub(crate) fn owning(group: &Group, node: &str, incarnation: i64, shards: &[u16]) -> (Records, HashMap<u16, u64>) {
    let records = group.records(node, owner(node, incarnation));
    asked(&records, &Ask::Renew(LONG_MS));
    asked(&records, &Ask::Claim(shards.to_vec()));
    let Answer::Shards(found) = asked(&records, &Ask::Shards) else { panic!("they are told") };
    let own = found.into_iter().filter(|shard| shard.owner.as_deref() == Some(node));
    let own: HashMap<u16, u64> = own.map(|shard| (shard.id, shard.epoch)).collect();
    assert!(shards.iter().all(|shard| own.contains_key(shard)), "they are its own");
    (records, own)
}

/// A record whose shard is one of the node's: those are every third.
pub(crate) fn key_of(nth: usize, number: usize) -> Key {
    let keys = (0..).map(|word: usize| Key::new("counter", format!("{nth} {word}")));
    keys.filter(|key| usize::from(key.shard()) % NODES.len() == nth).nth(number).unwrap()
}

pub(crate) fn shards_of(nth: usize) -> Vec<u16> {
    (0..SHARDS).filter(|shard| usize::from(*shard) % NODES.len() == nth).collect()
}

pub(crate) fn made(records: &Records, key: &Key, epoch: u64, seq: u64) {
    make(records, key, seq, &put(epoch, seq));
}

/// Makes a change, and again if nobody has said what has become of it.
pub(crate) fn make(records: &Records, key: &Key, seq: u64, change: &Change) {
    let mut may_be = false;
    loop {
        match commit(records, key, change.clone()) {
            Ok(()) => return,
            Err(StoreError::Away(_)) => {}
            Err(StoreError::Unknown(_)) => may_be = true,
            Err(StoreError::OutOfOrder { stored, .. }) if may_be && stored == seq => return,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn seq(records: &Records, key: &Key) -> Result<u64, StoreError> {
    Ok(records.read(key)?.map_or(0, |record| {
        assert_eq!(record.images, [image(record.seq)]);
        record.seq
    }))
}

/// A group of three whose first node owns a shard: its records, a key of that shard, and its epoch.
pub(crate) fn begun() -> (Group, Records, Key, u64) {
    let group = Group::founded();
    let key = key_of(0, 0);
    let (records, epochs) = owning(&group, "a", 1, &[key.shard()]);
    let epoch = epochs[&key.shard()];
    (group, records, key, epoch)
}

/// The folder of the voter `c` as it was after one change, and its records when it has a second one, and all know how far its disk is:
/// what has to be put back for it to be from an earlier time.
pub(crate) fn copied_earlier(group: &Group, records: &Records, key: &Key, epoch: u64) -> (TempDir, Records) {
    made(records, key, epoch, 1);
    group.stop("c");
    let earlier = group.copied("c");
    group.start("c");
    made(records, key, epoch, 2);
    let node = group.records("c", owner("c", 1));
    assert_eq!(read(&node, key), 2);
    // Every second in a node.
    asked(&node, &Ask::Renew(LONG_MS));
    (earlier, node)
}

/// The number of changes, once that is known.
pub(crate) fn read(records: &Records, key: &Key) -> u64 {
    loop {
        match seq(records, key) {
            Ok(seq) => return seq,
            Err(StoreError::Away(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
