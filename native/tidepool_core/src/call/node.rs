//! What all calls of a node share and keep alive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use crate::base::config::{EngineKind, FilesConfig, RuntimeConfig};
use crate::base::console::Console;
use crate::base::fair_share::Common;
use crate::base::limits::{TRIALS, further_stacks};
use crate::engine::engines::{Engine, Engines};
use crate::instance::admission::{Admission, Idle};
use crate::instance::namespace::Namespace;
use crate::instance::warm_pool::Pools;
use crate::metrics::counters::Stats;
use crate::net::access::Network;
use crate::os::drop_thread::DropThread;
use crate::os::trim::Trimmer;
use crate::process::place::Nodes;
use crate::recording::Keeper;
use crate::slice::epoch::Ticker;
use crate::slice::run_slots::RunSlots;
use crate::store::context::IdleInstances;
use crate::store::host_channel::Wait;
use crate::store::memory_budget::MemoryBudget;

/// The memory of trials is this part of the node's.
const TRIAL_SHARE: u64 = 16;

/// The node. Functions hold it, so nothing that holds functions belongs in here.
pub(crate) struct Node {
    fast: Places,
    dense: Places,
    pub(crate) ticker: Ticker,
    pub(crate) slots: RunSlots,
    pub(crate) drop_thread: DropThread,
    _trimmer: Trimmer,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) console_lines_per_s: u32,
    pub(crate) stats: Arc<Stats>,
    /// Keeps recordings, once it has a folder.
    pub(crate) recordings: Arc<ArcSwapOption<Keeper>>,
    /// Wakes guests that wait.
    pub(crate) io: tokio::runtime::Handle,
    /// Sockets of guests.
    pub(crate) network: Arc<Network>,
    /// Other nodes that its programs may be on.
    pub(crate) others: Arc<Nodes>,
    /// What a program may have of files in memory.
    pub(crate) files: FilesConfig,
    pub(crate) memory: Arc<MemoryBudget>,
    /// That of trials which find no room in the other.
    pub(crate) trial_memory: Arc<MemoryBudget>,
    /// Bytes that the code of functions takes.
    pub(crate) code: Arc<Common>,
    /// Calls that wait at the caps of functions.
    pub(crate) queued_at_caps: Arc<AtomicUsize>,
    /// Those that have quotas, by name.
    namespaces: HashMap<String, Arc<Namespace>>,
}

/// Admission of an engine, and the pools of its idle instances.
pub(crate) struct Places {
    pub(crate) kind: EngineKind,
    pub(crate) admission: Admission,
    /// That of trials which find no place among calls.
    pub(crate) trials: Admission,
    pub(crate) pools: Pools,
    /// Stacks beside those of instances, and the bytes of one.
    pub(crate) stacks: Arc<Common>,
    pub(crate) stack_bytes: usize,
}

impl Node {
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn new(
        config: &RuntimeConfig,
        engines: &Engines,
        stats: Arc<Stats>,
        io: tokio::runtime::Handle,
        console: Arc<dyn Console>,
    ) -> std::io::Result<Self> {
        let places = |engine: &Engine| Places {
            kind: engine.kind,
            admission: Admission::new(engine.max_instances, config.max_queue, Wait::Node),
            trials: Admission::new(TRIALS, usize::MAX, Wait::Node),
            pools: Pools::default(),
            stacks: Common::new(further_stacks(engine.max_instances)),
            stack_bytes: engine.stack_bytes,
        };
        let slots = RunSlots::new(config.max_computing.max(1));
        Ok(Node {
            fast: places(engines.get(EngineKind::Fast)),
            dense: places(engines.get(EngineKind::Dense)),
            ticker: Ticker::spawn(engines.wasmtime(), slots.clone())?,
            slots,
            drop_thread: DropThread::spawn()?,
            _trimmer: Trimmer::spawn(engines.idle())?,
            console,
            console_lines_per_s: config.console_lines_per_s,
            stats,
            recordings: Arc::default(),
            network: Arc::new(Network::new(&config.network, io.clone())),
            others: Arc::default(),
            files: config.files,
            io,
            memory: Arc::new(MemoryBudget::new(config.max_total_memory_bytes)),
            trial_memory: Arc::new(MemoryBudget::new(config.max_total_memory_bytes / TRIAL_SHARE)),
            code: Common::new(config.max_code_bytes),
            queued_at_caps: Arc::default(),
            namespaces: config
                .namespaces
                .iter()
                .map(|namespace| (namespace.name.clone(), Arc::new(Namespace::new(namespace))))
                .collect(),
        })
    }

    pub(crate) fn places(&self, kind: EngineKind) -> &Places {
        match kind {
            EngineKind::Fast => &self.fast,
            EngineKind::Dense => &self.dense,
        }
    }

    /// The namespace of a function, if it has quotas.
    pub(crate) fn namespace(&self, function: &str) -> Option<&Arc<Namespace>> {
        function.split_once('/').and_then(|(namespace, _)| self.namespaces.get(namespace))
    }

    /// All calls that wait for an instance.
    pub(crate) fn queued(&self) -> usize {
        let at_engines = self.all_places().map(|places| places.admission.queued());
        at_engines.fold(self.queued_at_caps(), usize::saturating_add)
    }

    /// Those of them that wait at the caps of their functions and namespaces.
    pub(crate) fn queued_at_caps(&self) -> usize {
        let at_namespaces = self.namespaces.values().map(|namespace| namespace.queued());
        at_namespaces.fold(self.queued_at_caps.load(Ordering::Relaxed), usize::saturating_add)
    }

    pub(crate) fn all_places(&self) -> impl Iterator<Item = &Places> {
        [&self.fast, &self.dense].into_iter()
    }

    /// Drops an idle instance on this thread. `false` when there is none.
    pub(crate) fn evict_now(&self) -> bool {
        self.all_places().any(|places| places.pools.evict_now() > 0)
    }

    /// Makes room for so many bytes of linear memory, by evicting idle instances if there is none. `false` when that isn't enough.
    pub(crate) fn make_room(&self, bytes: u64) -> bool {
        while !self.memory.has(bytes) {
            if !self.evict_now() {
                return false;
            }
        }
        true
    }

    /// Asks the owner of an instance that rests for it. `false` when there is none.
    pub(crate) fn ask_owner(&self) -> bool {
        self.all_places().any(|places| places.pools.owners.ask())
    }
}

impl IdleInstances for Node {
    fn go_for(&self, function: &str, bytes: u64) -> bool {
        self.namespace(function).is_none_or(|namespace| namespace.make_room(bytes).is_ok()) && self.make_room(bytes)
    }
}
