//! Voters of one process, and what carries their words: it loses them, has them come late, or twice, as it is told.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;
use tidepool_records::{Answering, Links, Owner, Records, Standing, Voter};
use tokio::sync::oneshot;

use super::PATIENCE;

pub(crate) const NODES: [&str; 3] = ["a", "b", "c"];

/// Three voters, each with a folder.
pub(crate) struct Group {
    pub(crate) board: Arc<Board>,
    folders: TempDir,
}

impl Group {
    /// Voters that have founded a group, or are about to.
    pub(crate) fn begun() -> Self {
        Self::of(&NODES)
    }

    /// Those of these nodes alone.
    pub(crate) fn of(nodes: &[&str]) -> Self {
        Self::named(nodes, &NODES)
    }

    /// Those of these nodes, where the ones of a group are named so.
    pub(crate) fn named(nodes: &[&str], named: &[&str]) -> Self {
        let group = Group { board: Arc::default(), folders: tempfile::tempdir().unwrap() };
        nodes.iter().for_each(|node| group.start_named(node, named));
        group
    }

    /// The same, once each is a member.
    pub(crate) fn founded() -> Self {
        let group = Self::begun();
        NODES.iter().for_each(|node| group.until_member(node));
        group
    }

    pub(crate) fn until_member(&self, node: &str) {
        until(&format!("{node} is a member"), || self.standing(node) == Standing::Member);
    }

    pub(crate) fn standing(&self, node: &str) -> Standing {
        self.with(node, Voter::standing)
    }

    pub(crate) fn folder(&self, node: &str) -> PathBuf {
        self.folders.path().join(node)
    }

    /// What is in the folder of a voter that is not open.
    pub(crate) fn copied(&self, node: &str) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copied(&self.folder(node), copy.path());
        copy
    }

    /// Puts back what was in the folder of a voter that is not open.
    pub(crate) fn put_back(&self, node: &str, copy: &TempDir) {
        copied(copy.path(), &self.folder(node));
    }

    /// The number of the first entry in a voter's log.
    pub(crate) fn first_entry(&self, node: &str) -> u64 {
        self.entry(node, "min")
    }

    /// The number of the last one.
    pub(crate) fn last_entry(&self, node: &str) -> u64 {
        self.entry(node, "max")
    }

    /// It is read from a copy, for the voter has the file for itself.
    fn entry(&self, node: &str, which: &str) -> u64 {
        let copy = tempfile::tempdir().unwrap();
        for file in ["log.db", "log.db-wal"] {
            let _there_or_not = std::fs::copy(self.folder(node).join(file), copy.path().join(file));
        }
        let log = rusqlite::Connection::open(copy.path().join("log.db")).unwrap();
        // One that was copied while it was written may be no database.
        log.query_row(&format!("SELECT {which}(number) FROM entry"), [], |row| row.get(0)).unwrap_or(0)
    }

    pub(crate) fn start(&self, node: &str) {
        self.start_named(node, &NODES);
    }

    pub(crate) fn start_named(&self, node: &str, named: &[&str]) {
        let named: Vec<_> = named.iter().map(|name| String::from(*name)).collect();
        std::fs::create_dir_all(self.folder(node)).unwrap();
        let line = Line { board: Arc::clone(&self.board), from: node.to_owned() };
        let voter = Voter::open(&self.folder(node), node, &named, Arc::new(line)).unwrap();
        self.insert(node, voter);
    }

    pub(crate) fn with<T>(&self, node: &str, of: impl FnOnce(&Voter) -> T) -> T {
        self.board.with(node, of).expect("the voter is there")
    }

    pub(crate) fn insert(&self, node: &str, voter: Voter) {
        self.board.0.lock().unwrap().voters.insert(node.to_owned(), voter);
    }

    /// Ends a voter. Who has its records open is to have closed them.
    pub(crate) fn stop(&self, node: &str) {
        let voter = self.board.0.lock().unwrap().voters.remove(node);
        drop(voter);
    }

    /// Opens what a voter keeps for a node.
    pub(crate) fn records(&self, voter: &str, owner: Owner) -> Records {
        self.with(voter, |voter| Records::open_replicated(voter, owner).unwrap())
    }

    /// The voter of a node; of one that has none, one of them.
    pub(crate) fn nearest(&self, node: &str) -> &'static str {
        NODES.iter().find(|name| **name == node).unwrap_or(&NODES[2])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let voters = std::mem::take(&mut self.board.0.lock().unwrap().voters);
        drop(voters);
    }
}

/// Has what a closed voter left be in another folder.
fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in ["log.db", "records.db"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// Looks until it is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Who is there, and what befalls what is said.
#[derive(Default)]
pub(crate) struct Board(Mutex<State>);

#[derive(Default)]
struct State {
    voters: HashMap<String, Voter>,
    /// From whom nothing gets to whom, and what one asks the other can't be read, or what it answers.
    cut: HashSet<(String, String)>,
    strange: HashSet<(String, String)>,
    faults: Option<Rng>,
    /// How long each question takes, and each MiB of it.
    slow: Duration,
    slow_mib: Duration,
    /// Whether the next answer is lost.
    loses_answer: bool,
}

impl Board {
    fn with<T>(&self, node: &str, of: impl FnOnce(&Voter) -> T) -> Option<T> {
        self.0.lock().unwrap().voters.get(node).map(of)
    }

    /// Nothing gets from one to the other.
    pub(crate) fn cut(&self, from: &str, to: &str) {
        self.0.lock().unwrap().cut.insert((from.into(), to.into()));
    }

    /// A node reaches nobody, and nobody reaches it.
    pub(crate) fn isolate(&self, node: &str) {
        for other in NODES.iter().filter(|other| **other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// What one asks the other can't be read, or else what it answers.
    pub(crate) fn estrange(&self, from: &str, to: &str) {
        self.0.lock().unwrap().strange.insert((from.into(), to.into()));
    }

    pub(crate) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        state.cut.clear();
        state.strange.clear();
    }

    /// From now on a part of what is said is lost, late or doubled; of `None`, nothing is.
    pub(crate) fn faults(&self, seed: Option<u64>) {
        self.0.lock().unwrap().faults = seed.map(Rng::with_seed);
    }

    /// The next answer is lost, and who waits for it is told that the connection was.
    pub(crate) fn lose_answer(&self) {
        self.0.lock().unwrap().loses_answer = true;
    }

    /// Each question takes so long from now on.
    pub(crate) fn slow(&self, by: Duration) {
        self.0.lock().unwrap().slow = by;
    }

    /// Each MiB that is asked takes so long from now on.
    pub(crate) fn slow_mib(&self, by: Duration) {
        self.0.lock().unwrap().slow_mib = by;
    }

    fn fate(&self, question: &[u8]) -> Fate {
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.loses_answer) {
            return Fate { is_answer_lost: true, ..Fate::default() };
        }
        let slow = state.slow + state.slow_mib.mul_f64(question.len() as f64 / f64::from(1 << 20));
        let Some(faults) = &mut state.faults else { return Fate { asked_late: slow, ..Fate::default() } };
        let late = |faults: &mut Rng| {
            if faults.u8(..8) == 0 { Duration::from_millis(faults.u64(..40)) } else { Duration::ZERO }
        };
        Fate {
            asked_late: late(faults),
            answered_late: late(faults),
            is_lost: faults.u8(..20) == 0,
            is_answer_lost: faults.u8(..20) == 0,
            is_doubled: faults.u8(..10) == 0,
        }
    }

    /// Has a voter answer, if it is there and can be reached.
    fn deliver(&self, from: &str, to: &str, question: Vec<u8>) -> Option<oneshot::Receiver<Vec<u8>>> {
        let state = self.0.lock().unwrap();
        let (tell, told) = oneshot::channel();
        if state.cut.contains(&(from.into(), to.into())) {
            return None;
        }
        state.voters.get(to)?.answer(from, question.into(), move |answer| drop(tell.send(answer)));
        Some(told)
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.0.lock().unwrap().cut.contains(&(from.into(), to.into()))
    }

    fn is_strange(&self, from: &str, to: &str) -> bool {
        self.0.lock().unwrap().strange.contains(&(from.into(), to.into()))
    }
}

/// What befalls a question.
#[derive(Default)]
struct Fate {
    asked_late: Duration,
    answered_late: Duration,
    is_lost: bool,
    is_answer_lost: bool,
    is_doubled: bool,
}

/// The links of one voter.
pub(crate) struct Line {
    pub(crate) board: Arc<Board>,
    pub(crate) from: String,
}

impl Links for Line {
    fn ask(&self, node: &str, question: Vec<u8>, _within: Duration) -> Answering {
        let (board, from, to) = (Arc::clone(&self.board), self.from.clone(), node.to_owned());
        let fate = board.fate(&question);
        Box::pin(async move {
            tokio::time::sleep(fate.asked_late).await;
            if fate.is_lost {
                return Err("the connection was lost".into());
            }
            if fate.is_doubled {
                let _nobody_waits = board.deliver(&from, &to, question.clone());
            }
            let is_read = !board.is_strange(&from, &to);
            let question = if is_read { question } else { Vec::new() };
            let told = board.deliver(&from, &to, question).ok_or("it is not to be reached")?;
            let answer = told.await.map_err(|_ended| "it has ended")?;
            let answer = if is_read && board.is_strange(&to, &from) { Vec::new() } else { answer };
            tokio::time::sleep(fate.answered_late).await;
            if board.is_cut(&to, &from) {
                return Err("it is not to be reached".into());
            }
            if fate.is_answer_lost { Err("the connection was lost".into()) } else { Ok(answer) }
        })
    }
}
