//! Access to a guest's memory with the pointers and lengths that the guest gives: never trusted.
//!
//! Guests are 32-bit: the `i32` of a pointer or length is an unsigned number in disguise.

use wasmtime::{Caller, Extern, Memory};

use crate::error::CallError;
use crate::state::State;
use crate::trap::TrapKind;

/// The bytes at `ptr..ptr + len`, at most `limit` of them. No bytes can be anywhere.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) fn read(caller: &mut Caller<'_, State>, ptr: i32, len: i32, limit: usize) -> wasmtime::Result<Vec<u8>> {
    let (start, length) = (unsigned(ptr), unsigned(len));
    if length == 0 {
        // Some languages point empty buffers anywhere (Zig: to the end of the address space).
        return Ok(Vec::new());
    }
    let memory = memory(caller)?;
    let bytes = start.checked_add(length).and_then(|end| memory.data(&*caller).get(start..end));
    match bytes {
        Some(bytes) => Ok(bytes.get(..limit).unwrap_or(bytes).to_vec()),
        None => Err(bad_pointer(caller, ptr, length)),
    }
}

/// Copies `bytes` to `ptr`.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) fn write(caller: &mut Caller<'_, State>, ptr: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let memory = memory(caller)?;
    if memory.write(&mut *caller, unsigned(ptr), bytes).is_err() {
        return Err(bad_pointer(caller, ptr, bytes.len()));
    }
    Ok(())
}

/// Stops the guest with `failure` as the outcome of its call.
pub(crate) fn fail(caller: &mut Caller<'_, State>, failure: CallError) -> wasmtime::Error {
    let text = failure.to_string();
    caller.data_mut().call.failure = Some(failure);
    wasmtime::Error::msg(text)
}

/// A pointer or length as the unsigned number that it is.
pub(crate) fn unsigned(value: i32) -> usize {
    value.cast_unsigned() as usize
}

/// A length for the guest. Nothing that long gets here, but saturating keeps a wrong turn harmless.
pub(crate) fn length(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

fn bad_pointer(caller: &mut Caller<'_, State>, ptr: i32, len: usize) -> wasmtime::Error {
    let message =
        format!("the guest gave the host {len} bytes at {:#x}, which are not all in its memory", unsigned(ptr));
    fail(caller, CallError::Trap { kind: TrapKind::BadPointer, message, frames: Vec::new() })
}

/// The guest's memory: remembered once it is instantiated, looked up while its start section still runs.
fn memory(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(wasmtime::Error::msg("the guest exports no memory")),
    }
}
