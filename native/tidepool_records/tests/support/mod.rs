//! What the tests have in common.

use std::sync::mpsc;
use std::time::Duration;

use tidepool_records::{Change, Image, Key, Put, Records, StoreError};

const PATIENCE: Duration = Duration::from_secs(120);

/// Has changes committed together, or nearly so; what came of each.
pub fn commit_all(records: &Records, changes: Vec<(Key, Change)>) -> Vec<Result<(), StoreError>> {
    let waiting: Vec<_> = changes
        .into_iter()
        .map(|(key, change)| {
            let (told, done) = mpsc::channel();
            records.commit(key, change, Box::new(move |outcome| drop(told.send(outcome))));
            done
        })
        .collect();
    waiting.into_iter().map(|done| done.recv_timeout(PATIENCE).expect("the change is written or refused")).collect()
}

pub fn commit(records: &Records, key: &Key, change: Change) -> Result<(), StoreError> {
    commit_all(records, vec![(key.clone(), change)]).remove(0)
}

/// The change number `seq` of a record, which has the number in its head and its image.
pub fn numbered(seq: u64, image: Image) -> Change {
    let values = vec![(b"seq".to_vec(), Some(seq.to_le_bytes().to_vec()))];
    Change::Put(Put { epoch: 1, seq, alarm_at: None, head: seq.to_le_bytes().to_vec(), image, values })
}
