//! Where start functions run ahead of all calls: an engine that compiles fast, and a host that answers nothing which an
//! instance could take for its own.
//!
//! What a start function may ask is what has the same answer at every start: arguments, environment, descriptors, the
//! monotonic clock (which starts with the instance). Randomness and the wall clock are answered from [`Answers`], so that
//! two runs with other answers show what came of them. Anything else ends the run with a [`Refusal`].

use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wasmtime::{
    Caller, Engine, ExternType, Linker, Memory, Module, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline, Val,
};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use super::chacha8::ChaCha8;
use super::image::{Image, Instrumented, unsupported};
use super::printed::Printed;
use super::{Refusal, Unprepared};
use crate::abi::{PREVIEW_0, WASI_MODULE, is_wasi, wapc, wasi};
use crate::compile::START_FUNCTIONS;
use crate::compile_pool::step_aside;
use crate::compiler::{Codegen, Failure, Job};
use crate::console::{MAX_LINE_BYTES, Stream};
use crate::limits::Limits;
use crate::runtime::RuntimeConfig;

/// Imports of WASI that answer the same at every start and change nothing: the real ones serve them.
const STEADY: [&str; 11] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "environ_get",
    "environ_sizes_get",
    "fd_fdstat_get",
    // Answers that there is no file: the three streams are none.
    "fd_fdstat_set_flags",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "proc_exit",
    "sched_yield",
];
/// Those that are answered here.
const ANSWERED: [&str; 3] = ["random_get", "clock_time_get", "fd_write"];
/// Buffers of a write that are looked at; real instances look at no more either.
const MAX_BUFFERS: usize = 1_024;
/// Most bytes of randomness in one request; real instances get no more either.
const MAX_RANDOM_BYTES: usize = 1 << 20;
/// What the monotonic clock says: the instance has just been born. Go takes 0 for a broken clock.
const BIRTH_NS: u64 = 1;
/// How often a run looks at the time.
const LOOK: Duration = Duration::from_millis(5);
/// How long before other deploys get a thread in the place of the one that a run holds.
const ASIDE_AFTER: Duration = Duration::from_millis(50);
/// Longest that start functions run here, whatever their function's limit is: they hold a compile thread.
pub(super) const MAX_TIME: Duration = Duration::from_secs(1);
/// The wall clock is somewhere in the 68 years from 1970 on.
const MAX_WALL_NS: u64 = 1 << 61;
/// Errors of WASI.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;

/// What randomness and the wall clock say in one run.
#[derive(Clone)]
pub(super) struct Answers {
    /// Seed of the first answer that is random.
    pub(super) first: [u8; 32],
    /// Seed of all later ones.
    pub(super) later: [u8; 32],
    /// The wall clock, in ns since 1970.
    pub(super) wall_ns: u64,
}

/// Another generator that takes the place of the one at `at`, at the first look at the clock by which that has given out
/// so many words.
pub(super) struct Replacement {
    pub(super) at: usize,
    pub(super) with: ChaCha8,
    pub(super) draws: usize,
}

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
    /// For modules of so many bytes and more, which it does not take long over.
    baseline: Option<Engine>,
    baseline_bytes: usize,
}

/// A module that is ready to run here.
pub(super) struct Candidate {
    module: Module,
}

/// What a function's instance may have. Nothing is taken from the budget that all instances share.
fn bounds(limits: &Limits) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX))
        .table_elements(usize::try_from(limits.table_elements).unwrap_or(usize::MAX))
        .build()
}

struct State {
    wasi: WasiP1Ctx,
    bounds: StoreLimits,
    first: StdRng,
    later: StdRng,
    wall_ns: u64,
    random_requests: usize,
    asked_wall: bool,
    replacement: Option<Replacement>,
    replaced: Option<(ChaCha8, ChaCha8)>,
    printed: Printed,
}

impl Answers {
    /// Some that nobody knows; the wall clock says anything.
    pub(super) fn random() -> Self {
        Answers { first: rand::random(), later: rand::random(), wall_ns: rand::random_range(0..MAX_WALL_NS) }
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
        Module::validate(&self.engine, wasm).map_err(|error| unsupported(&error))
    }

    pub(super) fn compile(&self, instrumented: &Instrumented<'_>, job: Job<'_>) -> Result<Candidate, Unprepared> {
        let wasm = instrumented.wasm();
        let baseline = self.baseline.as_ref().filter(|_| wasm.len() >= self.baseline_bytes);
        let module = match baseline.map(|engine| job.compile(engine, Codegen::SandboxBaseline, wasm)) {
            Some(Ok(module)) => Ok(module),
            None | Some(Err(Failure::Refused(_))) => job.compile(&self.engine, Codegen::Sandbox, wasm),
            Some(Err(failure)) => Err(failure),
        };
        let module = module.map_err(|failure| match failure {
            Failure::Refused(error) => Unprepared::Refused(unsupported(&error)),
            failure => Unprepared::Failed(failure),
        })?;
        Ok(Candidate { module })
    }
}

impl Candidate {
    /// Instantiates the module and runs its start functions, within `limits`.
    pub(super) fn run(
        &self,
        answers: &Answers,
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
            let outcome = self.run_until(until, answers, limits, replacement);
            drop(done);
            outcome
        })
    }

    fn run_until(
        &self,
        until: Instant,
        answers: &Answers,
        limits: &Limits,
        replacement: Option<Replacement>,
    ) -> Result<Run, Refusal> {
        let state = State {
            wasi: wasi::empty(),
            bounds: bounds(limits),
            first: StdRng::from_seed(answers.first),
            later: StdRng::from_seed(answers.later),
            wall_ns: answers.wall_ns,
            random_requests: 0,
            asked_wall: false,
            replacement,
            replaced: None,
            printed: Printed::default(),
        };
        let mut store = Store::new(self.module.engine(), state);
        store.limiter(|state| &mut state.bounds);
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
        let state = store.into_data();
        Ok(Run {
            image,
            asked_random: state.random_requests > 0,
            asked_more: state.random_requests > 1 || state.asked_wall,
            replaced: state.replaced,
            printed: state.printed,
        })
    }

    async fn start(&self, store: &mut Store<State>) -> wasmtime::Result<wasmtime::Instance> {
        let instance = self.linker()?.instantiate_async(&mut *store, &self.module).await?;
        for name in START_FUNCTIONS {
            let Some(start) = instance.get_func(&mut *store, name) else { continue };
            match start.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await {
                Err(error) if wasi::exit_code(&error) != Some(0) => return Err(error),
                _ => {}
            }
        }
        Ok(instance)
    }

    fn linker(&self) -> wasmtime::Result<Linker<State>> {
        let mut linker = Linker::new(self.module.engine());
        linker.allow_shadowing(true);
        p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
        linker.func_wrap(WASI_MODULE, "random_get", random_get)?;
        linker.func_wrap(WASI_MODULE, "clock_time_get", clock_time_get)?;
        linker.func_wrap(WASI_MODULE, "fd_write", fd_write)?;
        linker.func_wrap(wapc::MODULE, wapc::CONSOLE_LOG, console_log)?;
        // Those that preview 0 has otherwise are neither steady nor answered.
        linker.alias_module(WASI_MODULE, PREVIEW_0)?;
        for import in self.module.imports() {
            let (module, name) = (import.module(), import.name());
            let is_answered = is_wasi(module) && (STEADY.contains(&name) || ANSWERED.contains(&name));
            if is_answered || (module == wapc::MODULE && name == wapc::CONSOLE_LOG) {
                continue;
            }
            if let ExternType::Func(function) = import.ty() {
                let import = format!("{module}.{name}");
                let refuse = move |_: Caller<'_, State>, _: &[Val], _: &mut [Val]| {
                    Err(Refusal::Host { import: import.clone() }.into())
                };
                linker.func_new(module, name, function, refuse)?;
            }
        }
        Ok(linker)
    }
}

/// Polls a future that never waits for anybody: what it wants at most is another turn.
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

fn random_get(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> i32 {
    let len = usize::try_from(len.cast_unsigned()).unwrap_or(usize::MAX);
    if len > MAX_RANDOM_BYTES {
        return INVAL;
    }
    let state = caller.data_mut();
    state.random_requests += 1;
    let random = if state.random_requests == 1 { &mut state.first } else { &mut state.later };
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    write(&mut caller, ptr, &bytes)
}

fn clock_time_get(mut caller: Caller<'_, State>, clock: i32, _precision: i64, ptr: i32) -> i32 {
    replace(&mut caller);
    let state = caller.data_mut();
    let now = match clock {
        0 => {
            state.asked_wall = true;
            state.wall_ns
        }
        1 => BIRTH_NS,
        2 | 3 => return BADF,
        _ => return INVAL,
    };
    write(&mut caller, ptr, &now.to_le_bytes())
}

/// Keeps what is written to stdout and stderr.
fn fd_write(mut caller: Caller<'_, State>, fd: i32, buffers: i32, count: i32, size: i32) -> wasmtime::Result<i32> {
    let stream = match fd {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Ok(BADF),
    };
    let Some(memory) = memory(&mut caller) else { return Ok(FAULT) };
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*word)).ok()
    };
    let count = usize::try_from(count.cast_unsigned()).unwrap_or(usize::MAX).min(MAX_BUFFERS);
    let mut written = 0_usize;
    for index in 0..count {
        let at = usize::try_from(buffers.cast_unsigned()).unwrap_or(usize::MAX).saturating_add(index * 8);
        let piece = word(at).zip(word(at.saturating_add(4)));
        let piece = piece.and_then(|(start, length)| bytes.get(start..start.checked_add(length)?));
        let Some(piece) = piece else { return Ok(FAULT) };
        state.printed.push(stream, piece)?;
        written = written.saturating_add(piece.len());
    }
    Ok(write(&mut caller, size, &u32::try_from(written).unwrap_or(u32::MAX).to_le_bytes()))
}

/// Keeps a line.
fn console_log(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let memory = memory(&mut caller).ok_or_else(|| wasmtime::Error::msg("it prints, and has no memory"))?;
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    let start = usize::try_from(ptr.cast_unsigned()).unwrap_or(usize::MAX);
    let length = usize::try_from(len.cast_unsigned()).unwrap_or(usize::MAX);
    let text = start.checked_add(length).and_then(|end| bytes.get(start..end));
    let text = text.ok_or_else(|| wasmtime::Error::msg("it prints what is outside of its memory"))?;
    state.printed.push(Stream::Console, text.get(..MAX_LINE_BYTES).unwrap_or(text))?;
    Ok(())
}

/// Puts the other generator in its place, once its time has come.
fn replace(caller: &mut Caller<'_, State>) {
    let Some(memory) = memory(caller) else { return };
    let (bytes, state) = memory.data_and_store_mut(&mut *caller);
    let Some(Replacement { at, with, draws }) = &state.replacement else { return };
    let Some(bytes) = bytes.get_mut(*at..) else { return };
    let Some(before) = ChaCha8::read(bytes).filter(|found| found.given() >= *draws) else { return };
    let mut after = with.clone();
    for _ in 0..before.given() {
        after.next();
    }
    for (old, new) in bytes.iter_mut().zip(after.to_bytes()) {
        *old = new;
    }
    state.replaced = Some((before, after));
    state.replacement = None;
}

fn write(caller: &mut Caller<'_, State>, ptr: i32, bytes: &[u8]) -> i32 {
    let at = usize::try_from(ptr.cast_unsigned()).unwrap_or(usize::MAX);
    match memory(caller).map(|memory| memory.write(caller, at, bytes)) {
        Some(Ok(())) => SUCCESS,
        _ => FAULT,
    }
}

fn memory(caller: &mut Caller<'_, State>) -> Option<Memory> {
    caller.get_export("memory").and_then(wasmtime::Extern::into_memory)
}
