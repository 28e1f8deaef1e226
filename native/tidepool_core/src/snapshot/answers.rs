//! The imports of start functions that run for a snapshot: none gives a start function what differs between instances.
//!
//! A start function may ask for what is the same at every start: arguments, environment, descriptors, the monotonic clock
//! (which starts with the instance). [`Entropy`] answers for randomness and the wall clock, so that two runs with other
//! entropy show what depends on it. Any other import ends the run with a [`Refusal`].

use rand::Rng;
use rand::rngs::StdRng;
use wasmtime::{Caller, ExternType, Linker, Memory, Module, StoreLimits, Val};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use super::chacha8::ChaCha8;
use crate::abi::wapc;
use crate::abi::wasi::imports::{PREVIEW_0, WASI_MODULE, is_wasi};
use crate::base::console::{MAX_LINE_BYTES, Stream};
use crate::base::origin::Refusal;
use crate::base::printed::Printed;

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
/// The wall clock is somewhere in the 68 years from 1970 on.
const MAX_WALL_NS: u64 = 1 << 61;
/// Errors of WASI.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;

/// What randomness and the wall clock say in one run.
#[derive(Clone)]
pub(super) struct Entropy {
    /// Seed of the first answer that is random.
    pub(super) first: [u8; 32],
    /// Seed of all later ones.
    pub(super) later: [u8; 32],
    /// The wall clock, in ns since 1970.
    pub(super) wall_ns: u64,
}

/// Another generator that replaces the one at `at`, at the first reading of the clock after that one has given out `draws`
/// words.
pub(super) struct Replacement {
    pub(super) at: usize,
    pub(super) with: ChaCha8,
    pub(super) draws: usize,
}

/// Data of a run's store.
pub(super) struct State {
    pub(super) wasi: WasiP1Ctx,
    pub(super) bounds: StoreLimits,
    pub(super) first: StdRng,
    pub(super) later: StdRng,
    pub(super) wall_ns: u64,
    pub(super) random_requests: usize,
    pub(super) asked_wall: bool,
    pub(super) replacement: Option<Replacement>,
    pub(super) replaced: Option<(ChaCha8, ChaCha8)>,
    pub(super) printed: Printed,
}

impl Entropy {
    /// Unpredictable entropy, and any time of the wall clock.
    pub(super) fn random() -> Self {
        Entropy { first: rand::random(), later: rand::random(), wall_ns: rand::random_range(0..MAX_WALL_NS) }
    }
}

/// What start functions may import of `module`; all else ends their run.
pub(super) fn linker(module: &Module) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(module.engine());
    linker.allow_shadowing(true);
    p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    linker.func_wrap(WASI_MODULE, "random_get", random_get)?;
    linker.func_wrap(WASI_MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(WASI_MODULE, "fd_write", fd_write)?;
    linker.func_wrap(wapc::MODULE, wapc::CONSOLE_LOG, console_log)?;
    // Those that preview 0 has otherwise are neither steady nor answered.
    linker.alias_module(WASI_MODULE, PREVIEW_0)?;
    for import in module.imports() {
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
        push(state, stream, piece)?;
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
    push(state, Stream::Console, text.get(..MAX_LINE_BYTES).unwrap_or(text))
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

/// Keeps what was printed, if there is room.
fn push(state: &mut State, stream: Stream, piece: &[u8]) -> wasmtime::Result<()> {
    Ok(state.printed.push(stream, piece).map_err(|message| Refusal::Failed { message })?)
}
