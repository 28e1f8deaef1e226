//! The runtime: one engine and what all functions on it share.

use std::sync::Arc;

use wasmtime::{Engine, Linker};

use crate::abi;
use crate::admission::Admission;
use crate::console::{Budget, Console};
use crate::directory::Directory;
use crate::engine;
use crate::function::Shared;
use crate::limits::Limits;
use crate::metrics::{self, Gauge, Stats};
use crate::pool::Pools;
use crate::reaper::Reaper;
use crate::state::State;
use crate::ticker::Ticker;

/// What a node gives its guests, all functions taken together.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Cap on live instances, idle warm ones included.
    pub max_instances: u32,
    /// Cap on calls that wait for an instance.
    pub max_queue: usize,
    /// Largest memory limit that a function may be given, in bytes.
    pub max_memory_bytes: u64,
    /// Largest table limit that a function may be given, in elements.
    pub max_table_elements: u32,
    /// Stack of a guest, in bytes.
    pub stack_bytes: usize,
    /// Lines that each function may print in a second.
    pub console_lines_per_s: u32,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig {
            max_instances: 4_096,
            max_queue: 16_384,
            max_memory_bytes: 4 << 30,
            max_table_elements: 1 << 20,
            stack_bytes: 512 << 10,
            console_lines_per_s: 100,
        }
    }
}

/// Why a runtime could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused the configuration, or the machine could not give it the address space.
    #[error("the engine could not be set up: {0}")]
    Engine(String),
    /// One of the runtime's threads could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<wasmtime::Error> for RuntimeError {
    fn from(error: wasmtime::Error) -> Self {
        RuntimeError::Engine(format!("{error:#}"))
    }
}

/// One engine, and the functions that are published on it.
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
    directory: Directory,
}

/// What all functions of a runtime share and keep alive. The directory is no part of it: it holds functions itself.
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
    pub(crate) admission: Admission,
    pub(crate) pools: Pools,
    pub(crate) reaper: Reaper,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) console_lines_per_s: u32,
    pub(crate) stats: Stats,
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) max_memory_bytes: u64,
    pub(crate) max_table_elements: u32,
}

impl Runtime {
    /// Sets up a runtime. Guests that wait for I/O are woken by `io`; what guests print goes to `console`.
    ///
    /// # Errors
    /// [`RuntimeError`] when the engine or a thread can't be had.
    pub fn new(
        config: &RuntimeConfig,
        io: tokio::runtime::Handle,
        console: Arc<dyn Console>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let engine = engine::engine(config)?;
        let mut linker = Linker::new(&engine);
        abi::link(&mut linker)?;
        let max_instances = usize::try_from(config.max_instances).unwrap_or(usize::MAX);
        let inner = Arc::new(Inner {
            ticker: Ticker::spawn(engine.clone())?,
            engine,
            linker,
            admission: Admission::new(max_instances, config.max_queue),
            pools: Pools::default(),
            reaper: Reaper::spawn()?,
            console,
            console_lines_per_s: config.console_lines_per_s,
            stats: Stats::default(),
            io,
            max_memory_bytes: config.max_memory_bytes,
            max_table_elements: config.max_table_elements,
        });
        Ok(Arc::new(Runtime { inner, directory: Directory::default() }))
    }

    /// The functions that can be called by name.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Live instances, idle warm ones included.
    #[must_use]
    pub fn live_instances(&self) -> usize {
        self.inner.admission.live()
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.inner.pools.idle()
    }

    /// Calls that wait for an instance.
    #[must_use]
    pub fn queued_calls(&self) -> usize {
        self.inner.admission.queued()
    }

    /// All metrics as OpenMetrics text; `gauges` are figures that others know.
    ///
    /// # Errors
    /// Fails only if the text can't be formatted.
    pub fn metrics(&self, gauges: Vec<Gauge>) -> Result<String, std::fmt::Error> {
        let figure = |name: &str, help: &str, value: usize| {
            (name.to_owned(), help.to_owned(), i64::try_from(value).unwrap_or(i64::MAX))
        };
        let mut all = vec![
            figure("tidepool_instances_live", "Live instances, idle warm ones included", self.live_instances()),
            figure("tidepool_instances_idle", "Idle instances in warm pools", self.idle_instances()),
            figure("tidepool_calls_queued", "Calls that wait for an instance", self.queued_calls()),
        ];
        all.extend(gauges);
        metrics::render(&self.inner.stats, all)
    }
}

impl Inner {
    /// A state for stores in which nothing runs.
    pub(crate) fn spare_state(&self) -> State {
        let shared = Shared {
            name: String::new(),
            version: 0,
            limits: Limits::default(),
            stats: Arc::default(),
            console: Arc::clone(&self.console),
            budget: Budget::new(0),
        };
        State::new(Arc::new(shared), None)
    }
}
