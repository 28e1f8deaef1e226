//! What the tests have in common.

// Each test has this file as its own, and uses a part of it.
#![allow(dead_code, reason = "tests")]

pub(crate) mod postgres;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use tidepool_records::{Answer, Ask, Change, Key, Owner, Records, SHARDS, StoreError};

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

/// A place for records, in each of the ways that there are.
pub(crate) enum Place {
    File(TempDir),
    Database(String),
}

impl Place {
    /// One of each engine.
    pub(crate) fn each() -> [Self; 2] {
        [Place::File(tempfile::tempdir().unwrap()), Place::Database(postgres::server().database())]
    }

    /// Where it is, in a word.
    pub(crate) fn address(&self) -> String {
        match self {
            Place::File(folder) => folder.path().join("records").display().to_string(),
            Place::Database(url) => url.clone(),
        }
    }

    pub(crate) fn open(&self) -> Records {
        open(&self.address())
    }
}

/// Opens records by the address of their place. Who opens a database owns all its shards, by the epoch 1.
pub(crate) fn open(address: &str) -> Records {
    if !address.starts_with("postgres:") {
        return Records::open(Path::new(address)).unwrap();
    }
    let records = shared(address, "a", 1);
    lease(&records, Ask::Renew(3_600_000)).unwrap();
    lease(&records, Ask::Claim((0..SHARDS).collect())).unwrap();
    records
}

/// Opens a database as a node.
pub(crate) fn shared(url: &str, node: &str, incarnation: i64) -> Records {
    Records::open_shared(url, Owner { node: node.into(), incarnation }).unwrap()
}

/// What is answered to a question of leases and shards.
pub(crate) fn lease(records: &Records, ask: Ask) -> Result<Answer, StoreError> {
    let (told, answer) = mpsc::channel();
    records.lease(ask, PATIENCE, move |answer| drop(told.send(answer)))?;
    answer.recv_timeout(PATIENCE).expect("an answer")
}
