//! Imports of preview 1 whose duration depends on their arguments, bounded to what a host call may take; and the clock, which
//! guests read so often that looking up their memory by its name counts.
//!
//! They wrap those of wasmtime-wasi, which do the work.

use wasmtime::{AsContextMut, Caller, Linker};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as library, WasiSnapshotPreview1};
use wiggle::GuestMemory;

use super::context::context;
use crate::abi::memory::{self, PIECE_BYTES};
use crate::abi::slots::State;
use crate::recording::tape::fill;

/// Import module of preview 1.
pub(super) const WASI_MODULE: &str = "wasi_snapshot_preview1";
/// Buffers that one call uses, as on Linux: a call with more reads or writes only these, as the specification permits.
const MAX_BUFFERS: i32 = 1_024;
/// Events that a guest waits for at once.
pub(in crate::abi) const MAX_SUBSCRIPTIONS: u16 = 1_024;
/// A subscription takes as long as copying this many bytes.
pub(in crate::abi) const SUBSCRIPTION_BYTES: usize = 4 << 10;
/// Numbers of WASI's errors.
pub(super) const BADF: i32 = 8;
pub(super) const FAULT: i32 = 21;
pub(super) const INVAL: i32 = 28;
pub(super) const SUCCESS: i32 = 0;

/// Defines them in place of the linker's.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(WASI_MODULE, "random_get", |caller, args| Box::new(random_get(caller, args)))?;
    linker.func_wrap(WASI_MODULE, "clock_time_get", clock_time_get)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The guest's memory and the context of its imports.
pub(super) fn world<'a>(caller: &'a mut Caller<'_, State>) -> wasmtime::Result<(GuestMemory<'a>, &'a mut WasiP1Ctx)> {
    let memory = memory::memory(caller)?;
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (bytes, state) = memory.data_and_store_mut(caller);
    let context = context(state);
    context.set_hostcall_fuel(fuel);
    Ok((GuestMemory::Unshared(bytes), context))
}

/// A count that the guest gives, bounded. Its `i32` holds an unsigned number.
pub(super) fn at_most(count: i32, most: i32) -> i32 {
    if (0..=most).contains(&count) { count } else { most }
}

pub(super) async fn fd_read(caller: &mut Caller<'_, State>, args: (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    let (fd, buffers, count, size) = args;
    let (mut memory, context) = world(caller)?;
    library::fd_read(context, &mut memory, fd, buffers, at_most(count, MAX_BUFFERS), size).await
}

pub(super) async fn fd_pread(caller: &mut Caller<'_, State>, args: (i32, i32, i32, i64, i32)) -> wasmtime::Result<i32> {
    let (fd, buffers, count, offset, size) = args;
    let (mut memory, context) = world(caller)?;
    library::fd_pread(context, &mut memory, fd, buffers, at_most(count, MAX_BUFFERS), offset, size).await
}

pub(super) async fn fd_write(caller: &mut Caller<'_, State>, args: (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    let (fd, buffers, count, size) = args;
    let (mut memory, context) = world(caller)?;
    library::fd_write(context, &mut memory, fd, buffers, at_most(count, MAX_BUFFERS), size).await
}

pub(super) async fn fd_pwrite(
    caller: &mut Caller<'_, State>,
    args: (i32, i32, i32, i64, i32),
) -> wasmtime::Result<i32> {
    let (fd, buffers, count, offset, size) = args;
    let (mut memory, context) = world(caller)?;
    library::fd_pwrite(context, &mut memory, fd, buffers, at_most(count, MAX_BUFFERS), offset, size).await
}

fn clock_time_get(mut caller: Caller<'_, State>, clock: i32, precision: i64, time: i32) -> wasmtime::Result<i32> {
    let (mut memory, context) = world(&mut caller)?;
    library::clock_time_get(context, &mut memory, clock, precision, time)
}

async fn random_get(mut caller: Caller<'_, State>, (ptr, len): (i32, i32)) -> wasmtime::Result<i32> {
    let memory = memory::memory(&mut caller)?;
    let (start, length) = (memory::unsigned(ptr), memory::unsigned(len));
    let Some(end) = start.checked_add(length).filter(|end| *end <= memory.data_size(&caller)) else {
        return Ok(FAULT);
    };
    let tape = caller.data().tape.clone();
    let mut from = start;
    while from < end {
        let to = end.min(from + PIECE_BYTES);
        if let Some(bytes) = memory.data_mut(&mut caller).get_mut(from..to) {
            fill(tape.as_deref(), bytes);
        }
        // A random byte takes as long as copying four bytes.
        memory::copied(&mut caller, 4 * (to - from)).await;
        from = to;
    }
    Ok(SUCCESS)
}
