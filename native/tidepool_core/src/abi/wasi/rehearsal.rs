//! What start functions may ask of WASI that run once for all instances.

use wasmtime::{Caller, Linker, Store};
use wasmtime_wasi::p1;

use super::context::builder;
use super::imports::{PREVIEW_0, WASI_MODULE};
use crate::abi::rehearsal::{Rehearsal, clock_is_read, memory};
use crate::base::console::Stream;

/// Imports that answer the same at every start and change nothing: the real ones serve them.
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
/// Buffers of a write that are looked at; real instances look at no more either.
const MAX_BUFFERS: usize = 1_024;
/// Most bytes of randomness in one request; real instances get no more either.
const MAX_RANDOM_BYTES: usize = 1 << 20;
/// What the monotonic clock says: the instance has just been born. Go takes 0 for a broken clock.
const BIRTH_NS: u64 = 1;
/// Errors of WASI.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const INVAL: i32 = 28;

/// Defines the steady imports, randomness, clocks and output, of both previews.
pub(in crate::abi) fn link(linker: &mut Linker<Rehearsal>, store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
    let mut real = Linker::new(store.engine());
    p1::add_to_linker_async(&mut real, |run: &mut Rehearsal| {
        run.wasi.get_or_insert_with(|| Box::new(builder().build_p1()))
    })?;
    for name in STEADY {
        let steady = real.get(&mut *store, WASI_MODULE, name)?;
        linker.define(&mut *store, WASI_MODULE, name, steady)?;
    }
    linker.func_wrap(WASI_MODULE, "random_get", random_get)?;
    linker.func_wrap(WASI_MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(WASI_MODULE, "fd_write", fd_write)?;
    // Those that preview 0 has otherwise are not among them.
    linker.alias_module(WASI_MODULE, PREVIEW_0)
}

fn random_get(mut caller: Caller<'_, Rehearsal>, ptr: i32, len: i32) -> i32 {
    let len = usize::try_from(len.cast_unsigned()).unwrap_or(usize::MAX);
    if len > MAX_RANDOM_BYTES {
        return INVAL;
    }
    let bytes = caller.data_mut().random(len);
    write(&mut caller, ptr, &bytes)
}

fn clock_time_get(mut caller: Caller<'_, Rehearsal>, clock: i32, _precision: i64, ptr: i32) -> i32 {
    clock_is_read(&mut caller);
    let now = match clock {
        0 => caller.data_mut().wall(),
        1 => BIRTH_NS,
        2 | 3 => return BADF,
        _ => return INVAL,
    };
    write(&mut caller, ptr, &now.to_le_bytes())
}

/// Keeps what is written to stdout and stderr.
fn fd_write(mut caller: Caller<'_, Rehearsal>, fd: i32, buffers: i32, count: i32, size: i32) -> wasmtime::Result<i32> {
    let stream = match fd {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Ok(BADF),
    };
    let Some(memory) = memory(&mut caller) else { return Ok(FAULT) };
    let (bytes, rehearsal) = memory.data_and_store_mut(&mut caller);
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
        rehearsal.print(stream, piece)?;
        written = written.saturating_add(piece.len());
    }
    Ok(write(&mut caller, size, &u32::try_from(written).unwrap_or(u32::MAX).to_le_bytes()))
}

fn write(caller: &mut Caller<'_, Rehearsal>, ptr: i32, bytes: &[u8]) -> i32 {
    let at = usize::try_from(ptr.cast_unsigned()).unwrap_or(usize::MAX);
    match memory(caller).map(|memory| memory.write(caller, at, bytes)) {
        Some(Ok(())) => SUCCESS,
        _ => FAULT,
    }
}
