//! The runtime: its engines and what all functions on it share.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::abis::{Kind, built_in};
use crate::abi::contract::Spec;
use crate::abi::exports::Surface;
use crate::abi::imports::Import;
use crate::base::config::{CompileConfig, EngineKind, IoBackend, RuntimeConfig, Tier};
use crate::base::console::{Console, KeptLine, LINES};
use crate::base::error::{CallError, CompileError};
use crate::base::fair_share::Common;
use crate::call::node::{Node, Places};
use crate::compiler::is_component;
use crate::function::directory::Directory;
use crate::function::handle::Function;
use crate::function::module::Module;
use crate::function::sites::Sites;
use crate::metrics::counters::Stats;
use crate::metrics::failure::{FAILURES, Failure};
use crate::metrics::figures::{self, CallFigures, FunctionFigures};
use crate::metrics::recent::Recent;
use crate::metrics::text::{self, EngineFigures, Gauge, GaugeByLabel, SharedFigures};
use crate::module::check::is_core_of_component;
use crate::module::toolchain::Toolchain;
use crate::module::{Cache, Complaint};
use crate::os::compile_pool::CompilePool;
use crate::os::thread_clock::ThreadClock;
use crate::recording::Keeper;

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

/// The engines, and the functions that are published on it.
pub struct Runtime {
    pub(crate) toolchain: Arc<Toolchain>,
    /// Functions keep it alive. The directory is no part of it, because it holds functions itself.
    pub(crate) node: Arc<Node>,
    abis: Vec<Kind>,
    pub(crate) directory: Directory,
    sites: Sites,
    pub(crate) compile_pool: CompilePool,
    observed: AtomicBool,
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
        Self::with_abis(config, io, console, built_in())
    }

    /// The same with these ABIs; a module speaks the first that fits.
    pub(crate) fn with_abis(
        config: &RuntimeConfig,
        io: tokio::runtime::Handle,
        console: Arc<dyn Console>,
        abis: Vec<Kind>,
    ) -> Result<Arc<Self>, RuntimeError> {
        let stats = Arc::new(Stats::default());
        let specs = abis.iter().map(|abi| abi.spec).collect();
        let toolchain = Arc::new(Toolchain::new(config, specs, &stats)?);
        let fast = &toolchain.engines.get(EngineKind::Fast).optimising;
        let checked = toolchain.compilers.check(&fast.wasmtime, fast.codegen);
        checked.map_err(|failure| RuntimeError::Compiler(failure.to_string()))?;
        let node = Arc::new(Node::new(config, &toolchain.engines, stats, io, console)?);
        let compile_pool = CompilePool::spawn(config.compile_threads)?;
        let (directory, observed) = (Directory::default(), AtomicBool::new(false));
        Ok(Arc::new(Runtime { toolchain, node, abis, directory, sites: Sites::default(), compile_pool, observed }))
    }

    /// All host functions that guests may import, of each ABI, in no order.
    #[must_use]
    pub fn imports(&self) -> Vec<Import> {
        let offers = &self.toolchain.engines.get(EngineKind::Fast).optimising.offers;
        offers.iter().flat_map(|offer| offer.imports()).collect()
    }

    /// The names of the ABIs that this host speaks.
    #[must_use]
    pub fn abi_names(&self) -> Vec<&'static str> {
        self.abis.iter().map(|abi| abi.spec.name).collect()
    }

    /// The ABI that a module speaks, and the engine that suits it where its deploy names none; `None` when it speaks none, or can't
    /// be read. What a component's exports are is known when it is compiled; here their names tell.
    #[must_use]
    pub fn suited(&self, wasm: &[u8]) -> Option<(&'static str, EngineKind)> {
        let abis = &self.toolchain.abis;
        let found = if is_core_of_component(abis, wasm) {
            None
        } else if is_component(wasm) {
            Spec::suited(abis, wasm)
        } else {
            Spec::detect(abis, &Surface::read(wasm)).ok().map(|(abi, _module)| abi)
        };
        found.map(|abi| (abi.name, abi.engine))
    }

    /// Checks `wasm`, compiles it for this machine, unless the cache has it, and links it. Takes 5–50 ms for most modules
    /// and a second or more for large ones, on this thread and the rayon pool that it belongs to: call it on one of
    /// [`Runtime::compile_pool`]. Modules of [`RuntimeConfig::baseline_bytes`](crate::RuntimeConfig) and more are compiled
    /// by the baseline compiler, if that can, in a fifth of the time.
    ///
    /// # Errors
    /// A [`CompileError`] that says which of the steps refused the module, and what to change.
    pub fn compile(&self, wasm: &[u8], config: &CompileConfig) -> Result<Module, CompileError> {
        self.compile_while(wasm, config, &|| true)
    }

    /// The same for as long as the module is `wanted`, which is called some 50 times a second: when it returns false,
    /// compiling ends and frees its threads and memory, if the compiler has a process of its own.
    ///
    /// # Errors
    /// As [`Runtime::compile`]; and [`CompileError::Unwanted`].
    pub fn compile_while(
        &self,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Module, CompileError> {
        self.compile_counted(wasm, config, wanted).0
    }

    /// The same, and the CPU time that it took, whatever came of it: of this thread, and of the compiler's process. Without such a process
    /// the threads of the pool that it is called on may take more.
    pub fn compile_counted(
        &self,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
    ) -> (Result<Module, CompileError>, Duration) {
        let (clock, spent) = (ThreadClock::now(), Cell::default());
        let module = self.module(wasm, config, wanted, &spent);
        (module, spent.get().saturating_add(clock.elapsed()))
    }

    fn module(
        &self,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
        spent: &Cell<Duration>,
    ) -> Result<Module, CompileError> {
        let compiled = self.toolchain.compile(wasm, config, wanted, spent)?;
        let Some(abi) = self.abis.iter().find(|abi| abi.spec.name == compiled.abi()) else {
            return Err(CompileError::Internal { message: "the module's ABI is not one of the runtime's".into() });
        };
        Ok(Module::new(compiled, &self.node, abi.entry))
    }

    /// Sets whether calls are observed: then whoever drives a call has to report it.
    pub fn observe(&self, observed: bool) {
        self.observed.store(observed, Ordering::Relaxed);
    }

    /// Whether calls are observed.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// The functions that can be called by name.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Is there room for the code of a function that is to be published, beside that of all others but the one of its name? It counts from
    /// its making on, and no more when it is refused.
    ///
    /// # Errors
    /// [`CallError::Overloaded`], with what there is.
    pub fn code_fits(&self, function: &Function) -> Result<(), CallError> {
        let code = function.code();
        code.fits(self.directory.with(code.name(), |published| published.function.code().bytes()).unwrap_or_default())
    }

    /// Routes of functions that handle HTTP.
    #[must_use]
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Keeps compiled code in `folder`, up to `max_bytes`, and takes it from there from now on. `complain` gets a sentence for
    /// each file that is not as it was written, and once when the disk fails: neither fails a compile. The folder may be
    /// deleted at any time while no runtime uses it; two runtimes must not use the same one.
    ///
    /// # Errors
    /// When the folder, or the key in it, can't be made or read. Then modules are compiled as if there were no cache.
    pub fn open_cache(&self, folder: &Path, max_bytes: u64, complain: Box<Complaint>) -> std::io::Result<()> {
        let engines = self.toolchain.engines.all().map(|engine| &engine.optimising.wasmtime);
        self.toolchain.cache.store(Some(Arc::new(Cache::open(folder, max_bytes, engines, complain)?)));
        Ok(())
    }

    /// Keeps recordings of calls in `folder` from now on, `node_bytes` of them at most, and `function_bytes` of each function.
    ///
    /// # Errors
    /// When the folder can't be made or read. Then nothing is recorded.
    pub fn open_recordings(&self, folder: &Path, node_bytes: u64, function_bytes: u64) -> std::io::Result<()> {
        self.node.recordings.store(Some(Arc::new(Keeper::open(folder, node_bytes, function_bytes)?)));
        Ok(())
    }

    /// What keeps recordings, if they are kept.
    #[must_use]
    pub fn recordings(&self) -> Option<Arc<Keeper>> {
        self.node.recordings.load_full()
    }

    /// Where modules are compiled.
    #[must_use]
    pub fn compile_pool(&self) -> &CompilePool {
        &self.compile_pool
    }

    /// Says which other nodes there are that programs may be on, by their numbers.
    pub fn set_nodes(&self, others: Vec<u64>) {
        self.node.others.set(others);
    }

    /// Live instances, idle warm ones included.
    #[must_use]
    pub fn live_instances(&self) -> usize {
        self.node.all_places().map(|places| places.admission.live()).sum()
    }

    /// Idle warm instances.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.node.all_places().map(|places| places.pools.idle()).sum()
    }

    /// Calls that wait for an instance.
    #[must_use]
    pub fn queued_calls(&self) -> usize {
        self.node.queued()
    }

    /// Those of them that wait at the caps of their functions and namespaces.
    #[must_use]
    pub fn calls_queued_at_caps(&self) -> usize {
        self.node.queued_at_caps()
    }

    /// Linear memory that live instances have, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.node.memory.used()
    }

    /// What each engine has at the moment.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineFigures> {
        let figures = |places: &Places| EngineFigures {
            kind: places.kind,
            live: places.admission.live(),
            idle: places.pools.idle(),
            queued: places.admission.queued(),
            max_instances: places.admission.max_instances(),
        };
        self.node.all_places().map(figures).collect()
    }

    /// What functions share, of each resource that they may use up.
    #[must_use]
    pub fn shared(&self) -> Vec<SharedFigures> {
        let of = |resource, held: usize, most: usize| SharedFigures {
            resource,
            held: u64::try_from(held).unwrap_or(u64::MAX),
            most: u64::try_from(most).unwrap_or(u64::MAX),
        };
        let counted = |resource, common: &Common| of(resource, common.used(), common.most());
        let Node { memory, code, network, .. } = &*self.node;
        let mut all = vec![
            SharedFigures { resource: "memory", held: memory.used(), most: memory.limit() },
            counted("code", code),
            counted("sockets", network.sockets()),
            counted("lookups", network.lookups()),
        ];
        all.extend(self.node.all_places().flat_map(|places| {
            let (stacks, trials) = match places.kind {
                EngineKind::Fast => ("fast_stacks", "fast_trials"),
                EngineKind::Dense => ("dense_stacks", "dense_trials"),
            };
            [counted(stacks, &places.stacks), of(trials, places.trials.live(), places.trials.max_instances())]
        }));
        all
    }

    /// Counts a deploy that ended with `reason`, `ok` among them, after `took`. Reasons are few: each has a counter.
    pub fn count_deploy(&self, reason: &str, took: Duration) {
        self.node.stats.deploys.record(reason, took);
    }

    /// What guests have printed last.
    #[must_use]
    pub fn lines(&self) -> &Recent<KeptLine, LINES> {
        &self.node.stats.lines
    }

    /// Calls that have failed last.
    #[must_use]
    pub fn failures(&self) -> &Recent<Failure, FAILURES> {
        &self.node.stats.failures
    }

    /// Removes a function: nobody can call it any more, and what it printed and failed with is forgotten. Calls in flight keep what
    /// they use, and what they print and fail with is not kept.
    pub fn unpublish(&self, name: &str) {
        if let Some(removed) = self.directory.unpublish(name) {
            removed.note_removed();
        }
        self.node.stats.lines.forget(name);
        self.node.stats.failures.forget(name);
    }

    /// What the calls of each function have come to.
    #[must_use]
    pub fn figures(&self) -> Vec<FunctionFigures> {
        figures::of(&self.node.stats, |name| self.idle_of(name))
    }

    /// What the calls of one have come to; `None` when nothing is counted of it.
    #[must_use]
    pub fn figures_of(&self, name: &str) -> Option<FunctionFigures> {
        figures::of_name(&self.node.stats, name, |name| self.idle_of(name))
    }

    fn idle_of(&self, name: &str) -> usize {
        self.directory.with(name, |published| published.function.idle_instances()).unwrap_or_default()
    }

    /// The same of each of a function's last versions, with their numbers, the oldest first.
    #[must_use]
    pub fn figures_by_version(&self, name: &str) -> Vec<(u64, CallFigures)> {
        figures::by_version(&self.node.stats, name)
    }

    /// Who says when sockets are ready, and why it is not who was wanted.
    #[must_use]
    pub fn io(&self) -> (IoBackend, Option<&str>) {
        self.node.network.backend()
    }

    /// All metrics as OpenMetrics text; `gauges` are the caller's own figures.
    ///
    /// # Errors
    /// Fails only if the text can't be formatted.
    pub fn metrics(&self, gauges: Vec<Gauge>, by_label: Vec<GaugeByLabel>) -> Result<String, std::fmt::Error> {
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
            figure(
                "tidepool_memory_bytes",
                "Memory of all live instances, and what programs have beside it on the host",
                self.memory_bytes(),
            ),
            figure("tidepool_sockets_open", "Sockets of guests' processes", queued(self.node.network.sockets().used())),
        ];
        all.extend(gauges);
        text::render(&self.node.stats, self.engines(), self.shared(), all, by_label)
    }
}
