//! The node's runtime: the engine and the I/O threads that go with it.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use rustler::{Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{CallFigures, FunctionFigures, IoBackend, LATENCY_BOUNDS_NS, Runtime, reasons};

use crate::node::console::ConsoleThread;
use crate::node::workers::Workers;
use crate::terms::decode::List;
use crate::terms::{atoms, decode, encode};

/// Engine, I/O threads and console of one node.
pub(crate) struct Node {
    pub(crate) runtime: Arc<Runtime>,
    io: ManuallyDrop<tokio::runtime::Runtime>,
    pub(crate) workers: Workers,
    console: Arc<ConsoleThread>,
}

#[rustler::resource_impl]
impl Resource for Node {}

impl Node {
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        self.io.handle()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the runtime, and a value is dropped once.
        let io = unsafe { ManuallyDrop::take(&mut self.io) };
        // Waiting for its threads could hold a scheduler.
        io.shutdown_background();
    }
}

/// `{:ok, runtime}` or `{:error, message}`.
#[rustler::nif(schedule = "DirtyIo")]
fn start_runtime<'a>(env: Env<'a>, config: Term<'a>) -> NifResult<Term<'a>> {
    let runtime_config = decode::runtime_config(config)?;
    let io_threads = decode::threads(config, atoms::io_threads())?;
    let node = start(&runtime_config, io_threads);
    Ok(match node {
        Ok(node) => (atoms::ok(), ResourceArc::new(node)).encode(env),
        Err(message) => (atoms::error(), message).encode(env),
    })
}

fn start(config: &tidepool_core::RuntimeConfig, io_threads: usize) -> Result<Node, String> {
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(io_threads)
        .thread_name("tidepool-io")
        .on_thread_start(tidepool_core::request_short_timeslice)
        .enable_all()
        .build()
        .map_err(|error| format!("the I/O threads could not be started: {error}"))?;
    let workers =
        Workers::spawn(io_threads).map_err(|error| format!("the edge's threads could not be started: {error}"))?;
    let console =
        ConsoleThread::spawn().map_err(|error| format!("the console thread could not be started: {error}"))?;
    let runtime =
        Runtime::new(config, io.handle().clone(), Arc::clone(&console) as _).map_err(|error| error.to_string())?;
    Ok(Node { runtime, io: ManuallyDrop::new(io), workers, console })
}

/// `{memory_bytes, cores}` that this node may use: the machine's, or what control groups around it give.
#[rustler::nif(schedule = "DirtyIo")]
fn machine() -> (u64, usize) {
    let share = tidepool_core::machine::share();
    (share.memory_bytes, share.cores)
}

/// Sends what guests print to `pid` from now on.
#[rustler::nif]
fn subscribe_console(node: ResourceArc<Node>, pid: LocalPid) -> rustler::Atom {
    node.console.subscribe(pid);
    atoms::ok()
}

/// Says that the subscriber has taken a line: it is sent another in its place.
#[rustler::nif]
fn console_taken(node: ResourceArc<Node>) -> rustler::Atom {
    node.console.taken();
    atoms::ok()
}

/// Returns when the subscriber has been sent all that guests have printed by now.
#[rustler::nif(schedule = "DirtyIo")]
fn flush_console(node: ResourceArc<Node>) -> rustler::Atom {
    node.console.flush();
    atoms::ok()
}

/// Says whether calls are observed: while they are, none is answered without a process that tells of it.
#[rustler::nif]
fn observe(node: ResourceArc<Node>, observed: bool) -> rustler::Atom {
    node.runtime.observe(observed);
    atoms::ok()
}

/// `{live, idle, queued}`: instances, idle ones among them, and calls that wait for one.
#[rustler::nif]
fn instances(node: ResourceArc<Node>) -> (usize, usize, usize) {
    let runtime = &node.runtime;
    (runtime.live_instances(), runtime.idle_instances(), runtime.queued_calls())
}

/// Calls that wait at the caps of functions and namespaces.
#[rustler::nif]
fn calls_queued_at_caps(node: ResourceArc<Node>) -> usize {
    node.runtime.calls_queued_at_caps()
}

/// Modules that wait to be compiled.
#[rustler::nif]
fn compiles_queued(node: ResourceArc<Node>) -> usize {
    node.runtime.compile_pool().queued()
}

/// A map of `{live, idle, queued, max_instances}` for each engine.
#[rustler::nif]
fn engines(env: Env<'_>, node: ResourceArc<Node>) -> Term<'_> {
    let figures = node.runtime.engines().into_iter().map(|engine| {
        (encode::engine(engine.kind), (engine.live, engine.idle, engine.queued, engine.max_instances).encode(env))
    });
    encode::map(env, figures.collect())
}

/// A list of `{resource, held, most}` for each resource that functions share.
#[rustler::nif]
fn shared(env: Env<'_>, node: ResourceArc<Node>) -> Vec<Term<'_>> {
    let figures = node.runtime.shared().into_iter();
    figures.map(|shared| (shared.resource, shared.held, shared.most).encode(env)).collect()
}

/// What serves the sockets of guests: `tokio` or `uring`; `{tokio, Why}` where the kernel gives no ring.
#[rustler::nif]
fn io(env: Env<'_>, node: ResourceArc<Node>) -> Term<'_> {
    match node.runtime.io() {
        (IoBackend::Uring, _) => atoms::uring().encode(env),
        (IoBackend::Tokio, None) => atoms::tokio().encode(env),
        (IoBackend::Tokio, Some(why)) => (atoms::tokio(), why).encode(env),
    }
}

/// Name, help, a label, and the values by what that says.
type GaugeByLabel = (String, String, String, List<(String, i64)>);

/// All metrics as OpenMetrics text, with `gauges` (name, help, value) added, and those that have a label.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics(
    node: ResourceArc<Node>,
    gauges: List<(String, String, i64)>,
    by_label: List<GaugeByLabel>,
) -> NifResult<String> {
    let by_label = by_label.0.into_iter().map(|(name, help, label, values)| (name, help, label, values.0)).collect();
    node.runtime.metrics(gauges.0, by_label).map_err(|error| rustler::Error::RaiseTerm(Box::new(error.to_string())))
}

/// `{reasons, bounds_ns, functions}`: of each function its name, its calls by reason and by latency, and a map of its other figures.
#[rustler::nif(schedule = "DirtyCpu")]
fn figures(env: Env<'_>, node: ResourceArc<Node>) -> Term<'_> {
    with_figures(env, node.runtime.figures())
}

/// The same of one function, or of none when nothing is counted of it.
#[rustler::nif]
fn figures_of<'a>(env: Env<'a>, node: ResourceArc<Node>, name: &str) -> Term<'a> {
    with_figures(env, node.runtime.figures_of(name))
}

fn with_figures(env: Env<'_>, figures: impl IntoIterator<Item = FunctionFigures>) -> Term<'_> {
    let functions: Vec<_> = figures.into_iter().map(|figures| function_figures(env, figures)).collect();
    (reasons().collect::<Vec<_>>(), LATENCY_BOUNDS_NS.to_vec(), functions).encode(env)
}

fn function_figures(env: Env<'_>, figures: FunctionFigures) -> Term<'_> {
    let mut others = call_figures(env, &figures.calls);
    others.extend([
        (atoms::peak_memory(), figures.peak_memory_bytes.encode(env)),
        (atoms::dropped_lines(), figures.dropped_lines.encode(env)),
        (atoms::queued(), figures.queued.encode(env)),
        (atoms::idle(), figures.idle.encode(env)),
    ]);
    (figures.name, &figures.calls.outcomes, latencies(&figures.calls), encode::map(env, others)).encode(env)
}

/// `{bucket, count}` of those that had a call.
fn latencies(calls: &CallFigures) -> Vec<(usize, u64)> {
    calls.latencies.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect()
}

fn call_figures<'a>(env: Env<'a>, calls: &CallFigures) -> Vec<(rustler::Atom, Term<'a>)> {
    vec![
        (atoms::latency_us(), (calls.latency_ns / 1_000).encode(env)),
        (atoms::cpu_us(), (calls.cpu_ns / 1_000).encode(env)),
        (atoms::live(), calls.live.encode(env)),
        (atoms::memory(), calls.memory_bytes.encode(env)),
    ]
}

/// The same of each of a function's last versions, with their numbers in the place of the name, the oldest first.
#[rustler::nif]
fn figures_by_version<'a>(env: Env<'a>, node: ResourceArc<Node>, name: &str) -> Vec<Term<'a>> {
    let version = |(number, calls): (u64, CallFigures)| {
        let others = encode::map(env, call_figures(env, &calls));
        (number, &calls.outcomes, latencies(&calls), others).encode(env)
    };
    node.runtime.figures_by_version(name).into_iter().map(version).collect()
}

/// Counts a deploy that ended with `reason` after `us` µs.
#[rustler::nif]
fn count_deploy(node: ResourceArc<Node>, reason: &str, us: u64) -> rustler::Atom {
    node.runtime.count_deploy(reason, Duration::from_micros(us));
    atoms::ok()
}
