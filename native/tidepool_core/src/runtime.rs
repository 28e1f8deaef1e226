//! The runtime: its engines and what all functions on it share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::abi::{self, Import};
use crate::cache::{Cache, Complaint};
use crate::compile_pool::CompilePool;
use crate::compiler::{CompileBounds, Compilers};
use crate::console::{Budget, Console};
use crate::dense::DenseConfig;
use crate::directory::Directory;
use crate::engine::{Engine, EngineKind, Engines, Tier};
use crate::function::Shared;
use crate::limits::Limits;
use crate::memory;
use crate::metrics::{self, Gauge, GaugeByFunction, Stats};
use crate::reaper::Reaper;
use crate::snapshot::{Origin, Sandbox};
use crate::state::State;
use crate::ticker::Ticker;
use crate::trim::Trimmer;
use crate::turns::Turns;

/// What a node gives its guests, all functions taken together.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Cap on live instances of the fast engine, idle warm ones included.
    pub max_instances: u32,
    /// Cap on calls that wait for an instance, for each engine.
    pub max_queue: usize,
    /// Largest memory limit that a function may be given, in bytes.
    pub max_memory_bytes: u64,
    /// Largest table limit that a function may be given, in elements.
    pub max_table_elements: u32,
    /// Stack of a guest, in bytes.
    pub stack_bytes: usize,
    /// Lines that each function may print in a second.
    pub console_lines_per_s: u32,
    /// Whether compiled guests are named in `/tmp/perf-PID.map`, where `perf` looks for them.
    pub perf_map: bool,
    /// Threads that compile, beside one for small modules.
    pub compile_threads: usize,
    /// The program `tidepool_compiler` of this build, whose processes compile; without one the runtime's threads do, and
    /// nothing bounds what that takes.
    pub compiler: Option<PathBuf>,
    /// What compiling a module may take.
    pub compile_bounds: CompileBounds,
    /// Size of a module from which the baseline tier serves it until its optimised code is ready, in bytes; 0 does
    /// without that tier.
    pub baseline_bytes: usize,
    /// The dense engine.
    pub dense: DenseConfig,
    /// Most linear memory of all live instances together, in bytes.
    pub max_total_memory_bytes: u64,
    /// Guests that compute at a time, of those that go on for longer than a slice.
    pub max_computing: usize,
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
            perf_map: false,
            compile_threads: 1,
            compiler: None,
            compile_bounds: CompileBounds::default(),
            baseline_bytes: 0,
            dense: DenseConfig::default(),
            max_total_memory_bytes: u64::MAX / 2,
            max_computing: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Why a runtime could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused the configuration, or the machine could not give it the address space.
    #[error("the engine could not be set up: {0}")]
    Engine(String),
    /// The compiler's program can't be run, or is of another build.
    #[error("the compiler can't be used: {0}")]
    Compiler(String),
    /// One of the runtime's threads could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<wasmtime::Error> for RuntimeError {
    fn from(error: wasmtime::Error) -> Self {
        RuntimeError::Engine(format!("{error:#}"))
    }
}

/// What an engine has at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineFigures {
    /// Which one.
    pub kind: EngineKind,
    /// Live instances, idle warm ones included.
    pub live: usize,
    /// Idle warm instances.
    pub idle: usize,
    /// Calls that wait for an instance.
    pub queued: usize,
    /// Cap on live instances.
    pub max_instances: usize,
}

/// The engines, and the functions that are published on it.
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
    pub(crate) directory: Directory,
    pub(crate) compile_pool: CompilePool,
    observed: AtomicBool,
}

/// What all functions of a runtime share and keep alive. The directory is no part of it: it holds functions itself.
pub(crate) struct Inner {
    pub(crate) engines: Engines,
    pub(crate) compilers: Compilers,
    pub(crate) sandbox: Sandbox,
    pub(crate) ticker: Ticker,
    pub(crate) reaper: Reaper,
    _trimmer: Trimmer,
    pub(crate) cache: ArcSwapOption<Cache>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) console_lines_per_s: u32,
    pub(crate) stats: Stats,
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) max_table_elements: u32,
    pub(crate) memory: Arc<memory::Budget>,
    pub(crate) turns: Turns,
    /// Calls that wait at the caps of functions.
    pub(crate) queued_at_caps: Arc<AtomicUsize>,
}

impl Runtime {
    /// All host functions that guests may import, in no order.
    #[must_use]
    pub fn imports(&self) -> Vec<Import> {
        abi::imports(&self.inner, &self.inner.engines.get(EngineKind::Fast).optimising)
    }

    /// Sets up a runtime. Guests that wait for I/O are woken by `io`; what guests print goes to `console`.
    ///
    /// # Errors
    /// [`RuntimeError`] when the engine or a thread can't be had.
    pub fn new(
        config: &RuntimeConfig,
        io: tokio::runtime::Handle,
        console: Arc<dyn Console>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let engines = Engines::new(config)?;
        let compilers = Compilers { program: config.compiler.clone(), bounds: config.compile_bounds };
        let fast = &engines.get(EngineKind::Fast).optimising;
        compilers.check(&fast.wasmtime, fast.codegen).map_err(|failure| RuntimeError::Compiler(failure.to_string()))?;
        let turns = Turns::new(config.max_computing.max(1));
        let ticker = Ticker::spawn(engines.wasmtime(), turns.clone())?;
        let inner = Arc::new(Inner {
            engines,
            compilers,
            sandbox: Sandbox::new(config)?,
            ticker,
            reaper: Reaper::spawn()?,
            _trimmer: Trimmer::spawn()?,
            cache: ArcSwapOption::empty(),
            console,
            console_lines_per_s: config.console_lines_per_s,
            stats: Stats::default(),
            io,
            max_table_elements: config.max_table_elements,
            memory: Arc::new(memory::Budget::new(config.max_total_memory_bytes)),
            turns,
            queued_at_caps: Arc::default(),
        });
        let compile_pool = CompilePool::spawn(config.compile_threads)?;
        let observed = AtomicBool::new(false);
        Ok(Arc::new(Runtime { inner, directory: Directory::default(), compile_pool, observed }))
    }

    /// Says whether calls are observed by somebody who has to be told of each.
    pub fn observe(&self, observed: bool) {
        self.observed.store(observed, Ordering::Relaxed);
    }

    /// Are calls observed? Who drives one then tells of it.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// The functions that can be called by name.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Keeps compiled code in `folder`, up to `max_bytes`, and takes it from there from now on. `complain` is told, in a
    /// sentence, of files that are not as they were written, and once of a disk that fails: neither fails a compile. The
    /// folder may be deleted at any time while no runtime uses it; no two may use one.
    ///
    /// # Errors
    /// When the folder, or the key in it, can't be made or read. Then modules are compiled as if there were no cache.
    pub fn open_cache(&self, folder: &Path, max_bytes: u64, complain: Box<Complaint>) -> std::io::Result<()> {
        let engines = self.inner.engines.all().map(|engine| &engine.optimising.wasmtime);
        self.inner.cache.store(Some(Arc::new(Cache::open(folder, max_bytes, engines, complain)?)));
        Ok(())
    }

    /// Where modules are compiled.
    #[must_use]
    pub fn compile_pool(&self) -> &CompilePool {
        &self.compile_pool
    }

    /// Live instances, idle warm ones included.
    #[must_use]
    pub fn live_instances(&self) -> usize {
        self.inner.engines.all().map(|engine| engine.admission.live()).sum()
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.inner.engines.all().map(|engine| engine.pools.idle()).sum()
    }

    /// Calls that wait for an instance.
    #[must_use]
    pub fn queued_calls(&self) -> usize {
        let at_engines: usize = self.inner.engines.all().map(|engine| engine.admission.queued()).sum();
        at_engines.saturating_add(self.inner.queued_at_caps.load(Ordering::Relaxed))
    }

    /// Linear memory that live instances have, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.inner.memory.used()
    }

    /// What each engine has at the moment.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineFigures> {
        let figures = |engine: &Engine| EngineFigures {
            kind: engine.kind,
            live: engine.admission.live(),
            idle: engine.pools.idle(),
            queued: engine.admission.queued(),
            max_instances: engine.admission.max_instances(),
        };
        self.inner.engines.all().map(figures).collect()
    }

    /// Counts a deploy that ended with `reason`, `ok` among them, after so long. Reasons are few: each has a counter.
    pub fn count_deploy(&self, reason: &str, took: Duration) {
        self.inner.stats.deploys.record(reason, took);
    }

    /// All metrics as OpenMetrics text; `gauges` are figures that others know.
    ///
    /// # Errors
    /// Fails only if the text can't be formatted.
    pub fn metrics(&self, gauges: Vec<Gauge>, by_function: Vec<GaugeByFunction>) -> Result<String, std::fmt::Error> {
        let figure = |name: &str, help: &str, value: u64| {
            (name.to_owned(), help.to_owned(), i64::try_from(value).unwrap_or(i64::MAX))
        };
        let queued = |calls: usize| u64::try_from(calls).unwrap_or(u64::MAX);
        let mut all = vec![
            figure("tidepool_compiles_queued", "Modules that wait to be compiled", queued(self.compile_pool.queued())),
            figure(
                "tidepool_functions_baseline",
                "Functions that the baseline tier serves, for their optimised code is not ready",
                queued(self.directory.count(Tier::Baseline)),
            ),
            figure("tidepool_memory_bytes", "Linear memory of all live instances", self.memory_bytes()),
        ];
        all.extend(gauges);
        metrics::render(&self.inner.stats, self.engines(), all, by_function)
    }
}

impl Inner {
    /// A state for stores in which nothing runs.
    pub(crate) fn spare_state(&self) -> State {
        let shared = Shared {
            name: "".into(),
            version: 0,
            limits: Limits::default(),
            stats: Arc::default(),
            console: Arc::clone(&self.console),
            budget: Arc::new(Budget::new(0)),
            own_memory: None,
            node_memory: Arc::clone(&self.memory),
            reaper: self.reaper.clone(),
            origin: Arc::new(Origin::unknown()),
            exported: Arc::default(),
        };
        State::new(Arc::new(shared))
    }
}
