//! What the tests have in common.

use std::sync::mpsc;
use std::time::Duration;

use tidepool_records::{Change, Key, Records, StoreError};

const PATIENCE: Duration = Duration::from_secs(120);

/// Has changes committed together, or nearly so; what came of each.
pub(crate) fn commit_all(records: &Records, changes: Vec<(Key, Change)>) -> Vec<Result<(), StoreError>> {
    let waiting: Vec<_> = changes
        .into_iter()
        .map(|(key, change)| {
            let (told, done) = mpsc::channel();
            let refused = told.clone();
            let told = Box::new(move |outcome| drop(told.send(outcome)));
            if let Err(error) = records.commit(key, change, told) {
                drop(refused.send(Err(error)));
            }
            done
        })
        .collect();
    waiting.into_iter().map(|done| done.recv_timeout(PATIENCE).expect("the change is written or refused")).collect()
}

pub(crate) fn commit(records: &Records, key: &Key, change: Change) -> Result<(), StoreError> {
    commit_all(records, vec![(key.clone(), change)]).remove(0)
}
