//! Runtimes for modules, and the loop that drives a call to its end.

use std::path::Path;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use tidepool_core::console::{Console, Line};
use tidepool_core::value::Value;
use tidepool_core::{
    CallError, CompileConfig, CompileError, EngineKind, Function, FunctionConfig, HostCall, HostReply, HostRequest,
    Instances, Limits, Module, Reply, Request, Runtime, RuntimeConfig, Step, Task,
};

use super::settings;

/// Longer than anything takes that is bounded.
const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const PAGE: u64 = 64 << 10;

/// The engines and tiers that a module can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Fast,
    Dense,
    Baseline,
}

impl Way {
    pub(super) const ALL: [Way; 3] = [Way::Fast, Way::Dense, Way::Baseline];

    fn engine(self) -> EngineKind {
        if self == Way::Dense { EngineKind::Dense } else { EngineKind::Fast }
    }
}

static OPTIMISING: LazyLock<Arc<Runtime>> = LazyLock::new(|| runtime(0));
/// All modules are large enough for the baseline compiler here.
static BASELINE: LazyLock<Arc<Runtime>> = LazyLock::new(|| runtime(1));

struct Silent;

impl Console for Silent {
    fn print(&self, _line: Line) -> Result<(), Line> {
        Ok(())
    }
}

fn runtime(baseline_bytes: usize) -> Arc<Runtime> {
    static IO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        io.expect("an I/O thread")
    });
    let config = RuntimeConfig { baseline_bytes, ..settings::small() };
    Runtime::new(&config, IO.handle().clone(), Arc::new(Silent)).expect("a runtime")
}

/// Has the optimising tier keep code in `folder` from now on.
pub(super) fn open_cache(folder: &Path) {
    OPTIMISING.open_cache(folder, 1 << 30, Box::new(|_complaint| {})).expect("a folder of our own");
}

/// Compiles `wasm` in one of the ways; with `snapshot`, start functions run now.
pub(super) fn compile(way: Way, wasm: &[u8], snapshot: Option<Limits>) -> Result<Arc<Module>, CompileError> {
    let runtime = if way == Way::Baseline { &*BASELINE } else { &*OPTIMISING };
    runtime.compile(wasm, &CompileConfig { engine: way.engine(), snapshot, ..CompileConfig::default() }).map(Arc::new)
}

/// A function of a module.
pub(super) struct Guest(Arc<Function>);

impl Guest {
    pub(super) fn new(module: &Arc<Module>, instances: Instances, limits: Limits) -> Result<Self, CompileError> {
        let config = FunctionConfig { instances, limits, ..settings::function_config() };
        module.function(config).map(|function| Guest(Arc::new(function)))
    }

    pub(super) fn call(
        &self,
        operation: &[u8],
        payload: &[u8],
        host: impl FnMut(HostCall) -> HostReply<Vec<u8>>,
    ) -> Result<Vec<u8>, CallError> {
        let (operation, payload) = (operation.into(), payload.to_vec().into());
        let task = self.0.start(Request { operation, payload, depth: 1, timeout: PATIENCE })?;
        finish(task, host)
    }
}

fn finish(mut task: Task, mut host: impl FnMut(HostCall) -> HostReply<Vec<u8>>) -> Result<Vec<u8>, CallError> {
    let signal = Arc::new(Signal::default());
    loop {
        match task.drive(|_| Waker::from(Arc::clone(&signal))) {
            Step::Done(outcome) => return outcome.map(Reply::into_bytes),
            Step::Host(HostRequest::Wapc(call)) => task.answer(host(call)),
            Step::Host(HostRequest::Import(_)) => task.answer_value(Value::Int(1)),
            Step::Host(HostRequest::Process(_) | HostRequest::File(_) | HostRequest::Exchange(_)) => {
                task.answer(Err(b"a call is no process".to_vec()))
            }
            Step::Yield => {}
            Step::Wait => signal.wait(task.remaining()),
        }
    }
}

/// A waker that can be waited for.
#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self, at_most: Duration) {
        let woken = self.woken.lock().unwrap();
        let (mut woken, _) = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken).unwrap();
        *woken = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_all();
    }
}
