//! A runtime of its own for each test, guests to run on it, and the loop that drives a call to its end.

pub(crate) mod allocations;
pub(crate) mod alone;
pub(crate) mod moving;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod puppet;
pub(crate) mod reference;
pub(crate) mod signal;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidepool_core::console::{Console, Line};
use tidepool_core::{
    CallError, CompileConfig, CompileError, DenseConfig, EngineKind, Function, FunctionConfig, HostCall, HostReply,
    HostRequest, Instances, Limits, Module, Reply, Request, Runtime, RuntimeConfig, Step, Task,
};

use crate::settings;
use signal::Signal;

/// Longer than anything here takes on a slow machine; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PAGE: u64 = 64 << 10;

pub(crate) type Outcome = Result<Vec<u8>, CallError>;

/// Tells `bin/test`'s closing lines that a test tries what it measures once more: a machine that others use takes some of its time.
pub(crate) fn tell_of_another_try(seen: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not by a macro, whose output is seen of tests alone that fail.
    let _ = writeln!(std::io::stderr(), "\nAGAIN {test}: {seen}");
}

/// What guests printed.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Line>>);

impl Console for Lines {
    fn print(&self, line: Line) -> Result<(), Line> {
        self.0.lock().unwrap().push(line);
        Ok(())
    }
}

impl Lines {
    /// Takes what was printed since the last look.
    pub(crate) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.take().into_iter().map(|line| line.text).collect()
    }
}

/// A runtime, with I/O threads and a console of its own.
pub(crate) struct Node {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) lines: Arc<Lines>,
    /// What functions run on that don't say otherwise.
    pub(crate) engine: EngineKind,
    /// Do instances begin where start functions ended?
    pub(crate) snapshots: bool,
    // Dropped last: tasks may still hold its handle.
    pub(crate) io: tokio::runtime::Runtime,
}

/// Whether what is exhaustive is run whole (`bin/test --long`), and not in samples.
pub(crate) fn is_long() -> bool {
    std::env::var_os("TIDEPOOL_LONG").is_some_and(|long| !long.is_empty())
}

/// Whether the `nth` of many is tried, of which one of so many is if there is no time for all: which ones follows from the seed of the
/// run (`bin/test --seed`), so that other files have others tried.
pub(crate) fn is_sampled(nth: usize, one_of: usize) -> bool {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0_usize);
    is_long() || nth % one_of == seed % one_of
}

/// Small, with a compiler of its own.
pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig { compiler: Some(compiler()), ..settings::small() }
}

/// The compiler of this build, or the one that whoever runs the tests names: one that fits these with another allocator, say.
pub(crate) fn compiler() -> PathBuf {
    std::env::var_os("TIDEPOOL_COMPILER")
        .map_or_else(|| env!("CARGO_BIN_EXE_tidepool_compiler_tests").into(), PathBuf::from)
}

/// Limits that no test is about: a busy machine must not fail a test that isn't about time.
pub(crate) fn limits() -> Limits {
    Limits { time_ms: 30_000, cpu_time_ms: 30_000, ..settings::LIMITS }
}

impl Node {
    pub(crate) fn new(config: &RuntimeConfig) -> Self {
        let lines = Arc::new(Lines::default());
        let (runtime, io) = start(config, Arc::clone(&lines) as Arc<dyn Console>);
        Node { runtime, lines, engine: EngineKind::Fast, snapshots: true, io }
    }

    /// Has each instance run its start functions.
    pub(crate) fn without_snapshots(mut self) -> Self {
        self.snapshots = false;
        self
    }

    pub(crate) fn small() -> Self {
        Self::new(&config())
    }

    /// With room for so many instances.
    pub(crate) fn sized(max_instances: u32, max_queue: usize) -> Self {
        Self::new(&RuntimeConfig { max_instances, max_queue, ..config() })
    }

    /// With the dense engine, and room in it for so many instances.
    pub(crate) fn dense(max_instances: u32, max_queue: usize) -> Self {
        let dense = DenseConfig { max_instances: Some(max_instances), ..settings::DENSE };
        Node { engine: EngineKind::Dense, ..Self::new(&RuntimeConfig { dense, max_queue, ..config() }) }
    }

    pub(crate) fn try_function(
        &self,
        wasm: &[u8],
        instances: Instances,
        limits: Limits,
    ) -> Result<Arc<Function>, CompileError> {
        let snapshot = self.snapshots.then(|| limits.clone());
        let config = CompileConfig { engine: self.engine, snapshot, ..CompileConfig::default() };
        function_of(&self.runtime, wasm, &config, instances, limits)
    }

    pub(crate) fn function(&self, wasm: &[u8], instances: Instances, limits: Limits) -> Arc<Function> {
        self.try_function(wasm, instances, limits).unwrap()
    }

    /// A function of this name, for tests of namespaces.
    pub(crate) fn named(&self, name: &str, wasm: &[u8], instances: Instances) -> Arc<Function> {
        let module = Arc::new(self.runtime.compile(wasm, &CompileConfig::default()).unwrap());
        let config = FunctionConfig { name: name.into(), instances, limits: limits(), ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    }

    pub(crate) fn fresh(&self, wasm: &[u8]) -> Arc<Function> {
        self.function(wasm, Instances::Fresh, limits())
    }

    pub(crate) fn warm(&self, wasm: &[u8]) -> Arc<Function> {
        self.function(wasm, Instances::Warm { max_idle: 8 }, limits())
    }

    /// Waits until no instance is left: large ones die on a thread of their own.
    pub(crate) fn assert_empty(&self) {
        eventually("no live instances", || self.runtime.live_instances() == 0);
        eventually("no memory", || self.runtime.memory_bytes() == 0);
        assert_eq!(self.runtime.queued_calls(), 0);
    }
}

/// A runtime and the I/O threads that it needs.
pub(crate) fn start(config: &RuntimeConfig, console: Arc<dyn Console>) -> (Arc<Runtime>, tokio::runtime::Runtime) {
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Runtime::new(config, io.handle().clone(), console).unwrap();
    (runtime, io)
}

pub(crate) fn function(
    runtime: &Arc<Runtime>,
    wasm: &[u8],
    instances: Instances,
    limits: Limits,
) -> Result<Arc<Function>, CompileError> {
    function_of(runtime, wasm, &compile_config(&limits), instances, limits)
}

/// A function of a module that is compiled with `config`.
pub(crate) fn function_of(
    runtime: &Arc<Runtime>,
    wasm: &[u8],
    config: &CompileConfig,
    instances: Instances,
    limits: Limits,
) -> Result<Arc<Function>, CompileError> {
    let module: Arc<Module> = Arc::new(runtime.compile(wasm, config)?);
    let config = FunctionConfig { instances, limits, ..settings::function_config() };
    Ok(Arc::new(module.function(config)?))
}

/// How modules are compiled here.
pub(crate) fn compile_config(limits: &Limits) -> CompileConfig {
    CompileConfig { snapshot: Some(limits.clone()), ..CompileConfig::default() }
}

/// What this thread has computed.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The value of the sample that starts like this, of a node's metrics.
pub(crate) fn sample(text: &str, start: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(start)?.strip_prefix(' ')?.parse().ok())
}

/// A module that `bin/guests` built, by language and name.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../../../../guests/build")
        .join(name)
        .with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; bin/guests builds it", path.display()))
}

pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub(crate) fn request(operation: &str, payload: &[u8]) -> Request {
    Request { operation: operation.as_bytes().into(), payload: payload.to_vec().into(), depth: 1, timeout: PATIENCE }
}

/// A call that has been started and not driven yet.
pub(crate) fn task(function: &Arc<Function>, operation: &str, payload: &[u8]) -> Task {
    function.start(request(operation, payload)).unwrap()
}

pub(crate) fn nested(function: &Arc<Function>) -> Task {
    function.start(Request { depth: 2, ..request("hello", b"") }).unwrap()
}

/// Drives `task` once, with `signal` as its waker.
pub(crate) fn drive(task: &mut Task, signal: &Arc<Signal>) -> Step {
    task.drive(|_| signal.waker())
}

/// Drives `task` to its end.
pub(crate) fn finish(mut task: Task, mut host: impl FnMut(HostCall) -> HostReply<Vec<u8>>) -> Outcome {
    let signal = Arc::new(Signal::default());
    loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => return outcome.map(Reply::into_bytes),
            Step::Host(HostRequest::Wapc(call)) => task.answer(host(call)),
            Step::Host(request) => panic!("a call is no process: {request:?}"),
            Step::Yield => {}
            Step::Wait => {
                signal.wait(task.remaining());
            }
        }
    }
}

/// Drives `task`, past any number of spent slices, to where it needs something else.
pub(crate) fn next(task: &mut Task, signal: &Arc<Signal>) -> Step {
    loop {
        match drive(task, signal) {
            Step::Yield => {}
            step => return step,
        }
    }
}

/// A call of `wat/parked` that has an instance, and waits for the host.
pub(crate) fn parked(function: &Arc<Function>) -> Task {
    let mut parked = task(function, "any", b"");
    assert!(matches!(next(&mut parked, &Arc::default()), Step::Host(_)));
    parked
}

/// One call from start to end; the guest finds no host.
pub(crate) fn call(function: &Arc<Function>, operation: &str, payload: &[u8]) -> Outcome {
    match function.start(request(operation, payload)) {
        Ok(task) => finish(task, |_| Err(b"no host here".to_vec())),
        Err(error) => Err(error),
    }
}

/// Waits for `condition`, and says which one if it never comes.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
