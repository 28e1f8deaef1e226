//! What the tests have in common.

// The unit tests have this file as their own, too, and either uses a part of it.
#![allow(dead_code, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

pub(crate) mod group;
pub(crate) mod members;
pub(crate) mod postgres;
pub(crate) mod voters;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use self::group::Group;
use tempfile::TempDir;
use tidepool_records::{Answer, Ask, Change, Key, Owner, Records, SHARDS, StoreError, Voter};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Whether what is random goes on for long (`bin/test --long`).
pub(crate) fn is_long() -> bool {
    std::env::var_os("TIDEPOOL_LONG").is_some_and(|long| !long.is_empty())
}

/// The seed of the run (`bin/test --seed`), so that a commit is checked again as it was; where nobody says one, another each time.
pub(crate) fn seed() -> u64 {
    std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

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
    Voter(TempDir),
    Database(String),
}

impl Place {
    /// One of each engine.
    pub(crate) fn each() -> [Self; 3] {
        let [file, voter] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        [Place::File(file), Place::Voter(voter), Place::Database(postgres::server().database())]
    }

    /// The file that has the records, if one has.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Place::File(folder) => Some(folder.path().join("records")),
            Place::Voter(folder) => Some(folder.path().join("records.db")),
            Place::Database(_url) => None,
        }
    }

    /// Has rows of the records changed by others than their owner, in words that both databases know.
    pub(crate) fn damage(&self, sql: &str) {
        match (self, self.file()) {
            (_, Some(path)) => {
                let sql = sql.replace("tidepool.", "").replace("'\\x", "x'");
                assert_eq!(rusqlite::Connection::open(path).unwrap().execute(&sql, []).unwrap(), 1, "{sql}");
            }
            (Place::Database(url), None) => postgres::execute(url, sql),
            (_, None) => unreachable!("it is in a file"),
        }
    }

    /// Where it is, in a word.
    pub(crate) fn address(&self) -> String {
        match self {
            Place::File(folder) => folder.path().join("records").display().to_string(),
            Place::Voter(folder) => voter(folder.path()),
            Place::Database(url) => url.clone(),
        }
    }

    pub(crate) fn open(&self) -> Records {
        open(&self.address())
    }
}

/// What the address of a voter begins with: the path of its folder follows.
pub(crate) const VOTER: &str = "voter:";

/// The address of a voter.
pub(crate) fn voter(folder: &Path) -> String {
    format!("{VOTER}{}", folder.display())
}

/// Opens records by the address of their place. Who opens what nodes share owns all its shards, by the epoch 1.
pub(crate) fn open(address: &str) -> Records {
    let records = match address.strip_prefix(VOTER) {
        Some(folder) => {
            let voter = Voter::alone(Path::new(folder), "a").unwrap();
            Records::open_replicated(&voter, owner("a", 1)).unwrap()
        }
        None if address.starts_with("postgres:") => shared(address, "a", 1),
        None => return Records::open(Path::new(address)).unwrap(),
    };
    lease(&records, Ask::Renew(3_600_000)).unwrap();
    lease(&records, Ask::Claim((0..SHARDS).collect())).unwrap();
    records
}

/// Opens a database as a node.
pub(crate) fn shared(url: &str, node: &str, incarnation: i64) -> Records {
    Records::open_shared(url, owner(node, incarnation)).unwrap()
}

pub(crate) fn owner(node: &str, incarnation: i64) -> Owner {
    Owner { node: node.into(), incarnation }
}

/// What nodes share, and open one after the other.
pub(crate) enum Store {
    Voter(Voter, TempDir),
    Group(Group),
    Database(String),
}

impl Store {
    /// One of each engine, and a group of voters.
    pub(crate) fn each() -> [Self; 3] {
        let folder = tempfile::tempdir().unwrap();
        let voter = Voter::alone(folder.path(), "a").unwrap();
        let database = postgres::server().database();
        [Store::Voter(voter, folder), Store::Group(Group::begun()), Store::Database(database)]
    }

    /// Opens it as a node.
    pub(crate) fn open(&self, node: &str, incarnation: i64) -> Records {
        match self {
            Store::Voter(voter, _folder) => Records::open_replicated(voter, owner(node, incarnation)).unwrap(),
            Store::Group(group) => group.records(group.nearest(node), owner(node, incarnation)),
            Store::Database(url) => shared(url, node, incarnation),
        }
    }

    /// Opens it as a node that has a lease.
    pub(crate) fn leased(&self, node: &str, incarnation: i64, lease_ms: u32) -> Records {
        let records = self.open(node, incarnation);
        assert!(matches!(lease(&records, Ask::Renew(lease_ms)), Ok(Answer::New(_))));
        records
    }
}

/// What is answered to a question of leases and shards.
pub(crate) fn lease(records: &Records, ask: Ask) -> Result<Answer, StoreError> {
    let (told, answer) = mpsc::channel();
    records.lease(ask, PATIENCE, move |answer| drop(told.send(answer)))?;
    answer.recv_timeout(PATIENCE).expect("an answer")
}
