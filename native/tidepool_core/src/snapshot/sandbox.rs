//! Where start functions run ahead of all calls: an engine that compiles fast, and a store with the bounds of an instance.

use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::{Engine, Module, Store, UpdateDeadline};

use super::answers::{Entropy, Replacement, linker};
use super::bounds::Bounds;
use super::chacha8::ChaCha8;
use super::image::{Image, Instrumented};
use crate::abi::contract::ModuleSpec;
use crate::abi::rehearsal::Rehearsal;
use crate::base::config::RuntimeConfig;
use crate::base::limits::Limits;
use crate::base::origin::{MAX_TIME, Refusal};
use crate::base::printed::Printed;
use crate::compiler::{Codegen, Failure, Job};
use crate::os::compile_pool::step_aside;
use crate::store::failure::exit_code;

/// How often a run looks at the time.
const LOOK: Duration = Duration::from_millis(5);
/// How long before other deploys get a thread in the place of the one that a run holds.
const ASIDE_AFTER: Duration = Duration::from_millis(50);

/// What a run left behind.
pub(super) struct Run {
    pub(super) image: Image,
    /// Was randomness asked for?
    pub(super) asked_random: bool,
    /// Was it asked for more than once, or the wall clock?
    pub(super) asked_more: bool,
    /// The generator that was replaced, and the one that took its place, as they were then.
    pub(super) replaced: Option<(ChaCha8, ChaCha8)>,
    /// What was printed.
    pub(super) printed: Printed,
}

/// The engines for such runs.
pub(crate) struct Sandbox {
    engine: Engine,
    /// For modules of this many bytes and more: it compiles quickly.
    baseline: Option<Engine>,
    baseline_bytes: usize,
}

/// A module that is ready to run here.
pub(super) struct Candidate {
    module: Module,
    /// Whose start functions are run, if they are exported.
    abi: ModuleSpec,
}

/// Why there is no snapshot.
pub(super) enum Unprepared {
    /// For something about the module.
    Refused(Refusal),
    /// For nothing that says anything of its start functions: they never ran.
    Failed(Failure),
}

impl From<Refusal> for Unprepared {
    fn from(refusal: Refusal) -> Self {
        Unprepared::Refused(refusal)
    }
}

impl Sandbox {
    pub(crate) fn new(config: &RuntimeConfig) -> wasmtime::Result<Self> {
        let has_baseline = config.baseline_bytes > 0;
        Ok(Sandbox {
            engine: Self::engine(config, Codegen::Sandbox)?,
            baseline: has_baseline.then(|| Self::engine(config, Codegen::SandboxBaseline).ok()).flatten(),
            baseline_bytes: config.baseline_bytes,
        })
    }

    fn engine(config: &RuntimeConfig, codegen: Codegen) -> wasmtime::Result<Engine> {
        let mut engine = codegen.config();
        engine
            // Its frames are larger than those of optimised code.
            .max_wasm_stack(config.stack_bytes.saturating_mul(2))
            .async_stack_size(config.stack_bytes.saturating_mul(4).max(512 << 10));
        Engine::new(&engine)
    }

    /// Is `wasm` a module with nothing in it but what functions may use?
    pub(super) fn validate(&self, wasm: &[u8]) -> Result<(), Refusal> {
        Module::validate(&self.engine, wasm).map_err(|error| Refusal::unsupported(&error))
    }

    pub(super) fn compile(
        &self,
        instrumented: &Instrumented<'_>,
        abi: ModuleSpec,
        job: Job<'_>,
    ) -> Result<Candidate, Unprepared> {
        let wasm = instrumented.wasm();
        let is_for_baseline = wasm.len() >= self.baseline_bytes && !job.deterministic;
        let baseline = self.baseline.as_ref().filter(|_| is_for_baseline);
        let module = match baseline.map(|engine| job.compile_module(engine, Codegen::SandboxBaseline, wasm)) {
            Some(Ok(module)) => Ok(module),
            None | Some(Err(Failure::Refused(_))) => job.compile_module(&self.engine, Codegen::Sandbox, wasm),
            Some(Err(failure)) => Err(failure),
        };
        let module = module.map_err(|failure| match failure {
            Failure::Refused(error) => Unprepared::Refused(Refusal::unsupported(&error)),
            failure => Unprepared::Failed(failure),
        })?;
        Ok(Candidate { module, abi })
    }
}

impl Candidate {
    /// Instantiates the module and runs its start functions, within `limits`.
    pub(super) fn run(
        &self,
        entropy: &Entropy,
        limits: &Limits,
        replacement: Option<Replacement>,
    ) -> Result<Run, Refusal> {
        let engine = self.module.engine();
        let until = Instant::now() + limits.cpu_time().min(MAX_TIME);
        thread::scope(|scope| {
            let (done, wait) = mpsc::channel::<()>();
            let look = move || {
                while wait.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            };
            let spawned = thread::Builder::new().name("tidepool-snapshot".into()).spawn_scoped(scope, look);
            spawned.map_err(|error| Refusal::Failed { message: error.to_string() })?;
            let outcome = self.run_until(until, entropy, limits, replacement);
            drop(done);
            outcome
        })
    }

    fn run_until(
        &self,
        until: Instant,
        entropy: &Entropy,
        limits: &Limits,
        replacement: Option<Replacement>,
    ) -> Result<Run, Refusal> {
        let replaced = Arc::new(OnceLock::new());
        let mut rehearsal = entropy.rehearsal(Bounds::of(limits));
        rehearsal.at_clock = replacement.map(|replacement| {
            let replaced = Arc::clone(&replaced);
            Box::new(move |memory: &mut [u8]| replacement.replace(memory, &replaced)) as _
        });
        let mut store = Store::new(self.module.engine(), rehearsal);
        store.limiter(|rehearsal| &mut *rehearsal.bounds);
        let aside_at = Instant::now() + ASIDE_AFTER;
        // Within the store, which ends with the run.
        let mut aside = None;
        store.epoch_deadline_callback(move |_| {
            let now = Instant::now();
            if now >= until {
                return Err(Refusal::TooSlow.into());
            }
            if aside.is_none() && now >= aside_at {
                aside = Some(step_aside());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        let instance = drive(until, self.start(&mut store)).map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => refusal,
            Err(error) => Refusal::Failed { message: error.root_cause().to_string() },
        })?;
        let image = Image::of(&mut store, &instance)?;
        let rehearsal = store.into_data();
        Ok(Run {
            image,
            asked_random: rehearsal.random_requests > 0,
            asked_more: rehearsal.random_requests > 1 || rehearsal.asked_wall,
            replaced: replaced.get().cloned(),
            printed: rehearsal.printed,
        })
    }

    async fn start(&self, store: &mut Store<Rehearsal>) -> wasmtime::Result<wasmtime::Instance> {
        let linker = linker(&self.abi, &self.module, store)?;
        let instance = linker.instantiate_async(&mut *store, &self.module).await?;
        for name in (self.abi.starts)(&|name| self.module.get_export(name).is_some()) {
            let Some(start) = instance.get_func(&mut *store, name) else { continue };
            match start.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await {
                Err(error) if exit_code(&error) != Some(0) => return Err(error),
                _ => {}
            }
        }
        Ok(instance)
    }
}

/// Polls a future that never waits: at most it yields.
fn drive<T>(until: Instant, future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending if Instant::now() >= until => return Err(Refusal::TooSlow.into()),
            Poll::Pending => {}
        }
    }
}
