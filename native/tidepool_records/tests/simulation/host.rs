//! A node: a voter on a folder of its own, in a runtime of its own with a clock of its own, and the records that the node has open on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use openraft::ServerState;
use tokio::runtime::Builder;

use super::defects::Defect;
use super::disk::{self, Health, Left};
use super::network::Network;
use super::owner::{Owning, Said};
use super::system;
use crate::lease::Owner;
use crate::record::StoreError;
use crate::replicated::group::Group;
use crate::replicated::{Open, Replicated, Standing, Voter};

/// What is said to a node by what it has asked.
pub(super) type Inbox = Arc<Mutex<Vec<Said>>>;

pub(super) struct Host {
    pub(super) index: usize,
    pub(super) name: String,
    /// The nodes that the group begins with.
    named: Vec<String>,
    root: PathBuf,
    /// The number of its folder, of those that it has had.
    folder: u32,
    /// How fast its clock goes, in ns for each ms.
    rate: u64,
    /// What its clock has.
    pub(super) now: u64,
    pub(super) open: Option<(Voter, Replicated)>,
    pub(super) inbox: Inbox,
    pub(super) owning: Owning,
    /// Until when it stands still.
    pub(super) stands_until: u64,
    pub(super) disk: Health,
    /// When it starts again.
    pub(super) starts_at: Option<u64>,
    pub(super) incarnation: i64,
    /// Whether its folder was lost, and it has not been replaced as a member since.
    pub(super) is_new_disk: bool,
}

impl Host {
    pub(super) fn new(index: usize, named: Vec<String>, root: &Path, rate: u64) -> Self {
        let host = Host {
            index,
            name: format!("n{index}"),
            named,
            root: root.into(),
            folder: 0,
            rate,
            now: system::START,
            open: None,
            inbox: Inbox::default(),
            owning: Owning::default(),
            stands_until: 0,
            disk: Health::Well,
            starts_at: Some(0),
            incarnation: 0,
            is_new_disk: false,
        };
        fs::create_dir_all(host.path(0)).unwrap();
        host
    }

    fn path(&self, folder: u32) -> PathBuf {
        self.root.join(format!("{}.{folder}", self.name))
    }

    /// What its clock has at a time.
    pub(super) fn clock(&self, tick: u64) -> u64 {
        system::START + tick * self.rate
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.open.as_ref().map(|(voter, _records)| &voter.0.group)
    }

    pub(super) fn leads(&self) -> bool {
        self.group().is_some_and(|group| {
            let metrics = group.raft.metrics();
            let metrics = metrics.borrow();
            metrics.state == ServerState::Leader && metrics.running_state.is_ok()
        })
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.open.as_ref().map(|(voter, _records)| voter.standing())
    }

    /// Has its clock and its disk be those of this thread.
    fn enter(&self) {
        system::set_now(self.now);
        disk::set_health(self.disk);
    }

    /// Opens its folder.
    pub(super) fn start(&mut self, tick: u64, network: &Network, defect: Option<Defect>) -> Result<(), StoreError> {
        self.starts_at = None;
        self.now = self.clock(tick);
        self.enter();
        let folder = self.path(self.folder);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let line = Arc::new(network.line(self.index));
        let voter = Voter::open_on(runtime, &folder, &self.name, &self.named, line)?;
        self.incarnation += 1;
        let owner = Owner { node: self.name.clone(), incarnation: self.incarnation };
        let records = Replicated::open(&voter, owner)?;
        if let Some(defect) = defect {
            defect.begins(&folder);
        }
        self.open = Some((voter, records));
        self.owning = Owning::default();
        self.now = system::now();
        Ok(())
    }

    /// Runs what it has to do within a ms.
    pub(super) fn run(&mut self, tick: u64) {
        let Some((voter, _records)) = &self.open else { return };
        self.now = self.now.max(self.clock(tick));
        let left = Duration::from_nanos(self.clock(tick + 1).saturating_sub(self.now));
        self.enter();
        voter.0.runtime.as_ref().unwrap().block_on(async move { tokio::time::sleep(left).await });
        self.now = system::now();
    }

    /// Ends it in the midst of whatever it does; of its folder there is what is left.
    pub(super) fn end(&mut self, network: &Network, left: Left, rng: &mut Rng, defect: Option<Defect>) {
        let Some((voter, mut records)) = self.open.take() else { return };
        disk::set_health(Health::Well);
        let (before, after) = (self.path(self.folder), self.path(self.folder + 1));
        disk::leave(&before, &after, left, rng);
        network.end(self.index);
        // What its last tasks say is heard by nobody, and what they write is in no folder that counts.
        self.inbox = Inbox::default();
        self.disk = Health::Well;
        self.enter();
        if let Some(Open { jobs, writer, voter }) = records.open.take() {
            writer.abort();
            drop((jobs, voter));
        }
        drop((records, voter));
        disk::remove(&before);
        self.folder += 1;
        if let Some(defect) = defect {
            defect.ends(&after);
        }
    }

    /// What is in its folder at this moment.
    pub(super) fn keep(&self, rng: &mut Rng) -> PathBuf {
        let kept = self.root.join(format!("{}.kept", self.name));
        if kept.exists() {
            disk::remove(&kept);
        }
        disk::leave(&self.path(self.folder), &kept, Left::All, rng);
        kept
    }

    /// Has its folder, which nobody has open, be as that one was; or empty.
    pub(super) fn put_back(&mut self, kept: Option<&Path>, rng: &mut Rng) {
        disk::remove(&self.path(self.folder));
        self.folder += 1;
        match kept {
            Some(kept) => disk::leave(kept, &self.path(self.folder), Left::All, rng),
            None => {
                fs::create_dir_all(self.path(self.folder)).unwrap();
                self.is_new_disk = true;
            }
        }
    }
}
