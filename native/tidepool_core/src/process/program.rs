//! A program: what all processes of one start share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::bounds::Bounds;
use super::bounds::account::{Account, PROCESS_BYTES, Share};
use super::bounds::cpu::TotalCpu;
use super::bounds::living::Living;
use super::bounds::turns::Turns;
use super::handle::Process;
use super::metrics::Figures;
use super::outsiders::Outsiders;
use super::place::Place;
use super::registry::{Names, Registry};
use super::stdio::Stdio;
use super::upgrade::Upgrade;
use crate::base::console::Stream;
use crate::base::grants::Grants;
use crate::base::request::Address;
use crate::net::access::Access;
use crate::os::drop_thread::{DropThread, is_large};

/// Maps that processes are spread over, so that cores seldom wait for one another.
const SHARDS: usize = 16;
/// Processes and names that other nodes are asked for at a time.
const ASKING: usize = 16;
/// Names are swept when so many processes have ended.
const SWEEP_EVERY: usize = 1_024;

/// Takes lines that a program's processes print, instead of the console.
pub trait Output: Send + Sync {
    /// Takes a line of the process with this driver. Called on the thread that runs the guest, so it must not block.
    fn line(&self, process: Option<Address>, stream: Stream, text: &str);
}

/// A program.
pub(crate) struct Program {
    /// Tells it from all others of the node.
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
    version: AtomicU64,
    /// Bytes of one mailbox.
    pub(crate) mailbox_bytes: usize,
    pub(crate) total_cpu: Arc<TotalCpu>,
    pub(crate) account: Arc<Account>,
    pub(crate) names: Registry,
    /// Names that hold on all of its nodes, where it began.
    pub(crate) wide_names: Registry,
    pub(crate) figures: Figures,
    pub(crate) output: Option<Arc<dyn Output>>,
    /// Its own standard input and output.
    pub(crate) stdio: Option<Arc<Stdio>>,
    /// On which node of those that it is on.
    pub(crate) place: Place,
    /// Those of its processes that ask other nodes for more.
    pub(crate) asking: Turns<ASKING>,
    /// Those that ask where it began for names.
    pub(crate) naming: Turns<ASKING>,
    /// The one that has a module compiled.
    pub(crate) compiling: Turns<1>,
    access: ArcSwap<Access>,
    pub(crate) upgrade: Upgrade,
    shards: [Mutex<HashMap<u64, Arc<Process>, RandomState>>; SHARDS],
    /// Numbers of processes by what drives them.
    driven: [Mutex<HashMap<u64, u64, RandomState>>; SHARDS],
    outsiders: Outsiders,
    drop_thread: DropThread,
    next: AtomicU64,
    living: Living,
    ended: AtomicBool,
    gone: AtomicUsize,
}

impl Program {
    pub(crate) fn new(
        name: &Arc<str>,
        version: u64,
        bounds: Bounds,
        access: Access,
        place: Place,
        output: Option<Arc<dyn Output>>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let account = Account::new(bounds.total_bytes, bounds.memory.clone());
        Program {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(name),
            version: AtomicU64::new(version),
            mailbox_bytes: bounds.mailbox_bytes,
            total_cpu: Arc::new(TotalCpu::new(bounds.total_cpu)),
            living: Living::new(bounds.processes, &bounds.living),
            names: Registry::new(&account),
            wide_names: Registry::by_owner(&account),
            figures: Figures::new(&account),
            account,
            output,
            stdio: None,
            next: AtomicU64::new(place.first),
            place,
            asking: Turns::default(),
            naming: Turns::default(),
            compiling: Turns::default(),
            access: ArcSwap::from_pointee(access),
            upgrade: Upgrade::default(),
            shards: Default::default(),
            driven: Default::default(),
            outsiders: Outsiders::default(),
            drop_thread: DropThread::none(),
            ended: AtomicBool::new(false),
            gone: AtomicUsize::new(0),
        }
    }

    /// The program with a thread on which is dropped what its processes had, and its names, where that is much.
    pub(crate) fn with_drop_thread(mut self, drop_thread: &DropThread) -> Self {
        self.drop_thread = drop_thread.clone();
        self
    }

    /// The program with standard input and output of its own.
    pub(crate) fn with_stdio(mut self, stdio: Option<Arc<Stdio>>) -> Self {
        self.stdio = stdio;
        self
    }

    /// The program as it was when one of its processes was recorded: with this number, and messages of so many bytes.
    pub(crate) fn recorded(mut self, number: u64, mailbox_bytes: usize) -> Self {
        (self.number, self.mailbox_bytes) = (number, mailbox_bytes);
        self
    }

    /// The version of its function that it runs.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// What it may do with the network.
    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Its first process goes on as another version, which may do other things with the network. Upgrades are to be accepted anew.
    pub(crate) fn become_version(&self, version: u64, grants: &Arc<Grants>) {
        self.version.store(version, Ordering::Relaxed);
        self.access.store(Arc::new(self.access().with(grants)));
        self.upgrade.accept(0);
    }

    /// A number for a process that is about to run `entry`, and finds texts of so many bytes.
    ///
    /// # Errors
    /// A text, when there are as many as there may be, or the program has ended.
    pub(crate) fn add_guest(&self, entry: String, text_bytes: usize) -> Result<Arc<Process>, String> {
        if self.has_ended() {
            return Err("the program has ended".into());
        }
        let (mut share, text_bytes) = (Share::new(&self.account, PROCESS_BYTES), entry.len() + text_bytes);
        if !share.hold(text_bytes) {
            return Err(self.account.refusal());
        }
        self.living.add().map_err(|most| {
            format!(
                "all programs of the function together have the {most} processes that they may have (limit instances)"
            )
        })?;
        Ok(self.add(|id| Process::guest(id, entry, share, text_bytes)))
    }

    /// The number of a process of the host's: the same one each time. Others that don't live any more are forgotten.
    pub(crate) fn introduce(&self, address: Address, lives: impl Fn(Address) -> bool) -> u64 {
        let process = match self.driven(address).entry(address.0.get()) {
            Entry::Occupied(id) => return *id.get(),
            Entry::Vacant(place) => {
                let process = self.add(|id| Process::outsider(id, address));
                place.insert(process.id);
                process
            }
        };
        let id = process.id;
        for gone in self.outsiders.add(process, lives) {
            self.remove(&gone);
        }
        id
    }

    /// Says what drives a process.
    pub(crate) fn set_driver(&self, process: &Process, address: Address) {
        process.set_address(address);
        self.driven(address).insert(address.0.get(), process.id);
    }

    /// The process that has ended as its driver has: nobody is told of a death and finds the dead alive.
    pub(crate) fn driver_died(&self, address: Address) {
        let id = self.driven(address).get(&address.0.get()).copied();
        if let Some(id) = id {
            self.process_died(id);
        }
    }

    /// The same, by its number.
    pub(crate) fn process_died(&self, id: u64) {
        if let Some(process) = self.process(id) {
            self.remove(&process);
        }
    }

    fn add(&self, process: impl FnOnce(u64) -> Process) -> Arc<Process> {
        // So many are never made that one has a number again.
        let id = self.place.number(self.next.fetch_add(1, Ordering::Relaxed));
        let process = Arc::new(process(id));
        self.shard(id).insert(id, Arc::clone(&process));
        process
    }

    /// The process with this number, if it lives.
    pub(crate) fn process(&self, id: u64) -> Option<Arc<Process>> {
        self.shard(id).get(&id).cloned()
    }

    pub(crate) fn lives(&self, id: u64) -> bool {
        self.shard(id).contains_key(&id)
    }

    /// Can the process with this number be sent to: does it live here, or is it on another node, where that is known?
    pub(crate) fn may_live(&self, id: u64) -> bool {
        self.place.is_away(id) || self.lives(id)
    }

    /// All that live.
    pub(crate) fn all(&self) -> Vec<Arc<Process>> {
        (0..SHARDS).flat_map(|shard| self.nth(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    /// A process has ended; the program does with its first one.
    pub(crate) fn remove(&self, process: &Process) {
        let removed = self.shard(process.id).remove(&process.id);
        process.die(&self.drop_thread);
        if let (Some(_), Some(address)) = (&removed, process.address()) {
            self.driven(address).remove(&address.0.get());
        }
        if removed.is_some_and(|removed| removed.is_guest()) {
            if process.is_first() {
                self.end();
            }
            if self.living.remove() && self.has_ended() {
                self.give_back();
            }
            if self.gone.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
                self.names.forget_dead(|id| self.may_live(id));
                self.wide_names.forget_dead(|id| self.may_live(id));
            }
        }
    }

    /// No process is made from now on.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // Of a part that had processes of it, and has none any more, the last one did not know.
        if self.living.is_empty() {
            self.give_back();
        }
    }

    /// Gives back what it had beside its processes, of which none lives any more: who keeps a handle of one of them keeps nothing of it.
    fn give_back(&self) {
        self.figures.close();
        let names = [&self.names, &self.wide_names].map(Registry::close);
        if is_large(0, || names.iter().map(Names::len).sum()) {
            self.drop_thread.drop_there(Box::new(names));
        }
    }

    /// Whether none is made, and none begins, from now on.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Arc<Process>, RandomState>> {
        self.nth(usize::try_from(id % SHARDS as u64).unwrap_or(0))
    }

    fn driven(&self, address: Address) -> MutexGuard<'_, HashMap<u64, u64, RandomState>> {
        // Addresses of neighbours differ in some bits above the lowest.
        let shard = usize::try_from((address.0.get() >> 4) % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "within the array by its remainder")]
        self.driven[shard % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nth(&self, shard: usize) -> MutexGuard<'_, HashMap<u64, Arc<Process>, RandomState>> {
        // The remainder is always one of them; and nothing panics while it holds the lock.
        #[expect(clippy::indexing_slicing, reason = "within the array by its remainder")]
        self.shards[shard % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
