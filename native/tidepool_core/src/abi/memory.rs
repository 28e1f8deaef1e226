//! Access to a guest's memory with the pointers and lengths that the guest gives: never trusted.
//!
//! Guests are 32-bit: the `i32` of a pointer or length holds an unsigned number.

use std::ops::Range;

use wasmtime::{AsContextMut, Caller, Extern, Memory, StoreContextMut};

use super::slots::State;
use crate::base::error::CallError;
use crate::base::request::ShortName;
use crate::base::trap::TrapKind;
use crate::os::buffers;
use crate::slice::yielding::yielded;
use crate::store::resting::begin_slice;

/// Up to this many bytes are copied without yielding: the cost of a host call covers the time.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// The bytes at `ptr..ptr + len`, at most `limit` of them. An empty range can be anywhere.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) fn read(caller: &mut Caller<'_, State>, ptr: i32, len: i32, limit: usize) -> wasmtime::Result<Vec<u8>> {
    read_as(caller, ptr, len, limit, |bytes| {
        let mut copy = buffers::take(bytes.len());
        copy.extend_from_slice(bytes);
        copy
    })
}

/// The same, as a name.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) fn read_name(
    caller: &mut Caller<'_, State>,
    ptr: i32,
    len: i32,
    limit: usize,
) -> wasmtime::Result<ShortName> {
    read_as(caller, ptr, len, limit, ShortName::from_slice)
}

fn read_as<T: Default>(
    caller: &mut Caller<'_, State>,
    ptr: i32,
    len: i32,
    limit: usize,
    copy: impl FnOnce(&[u8]) -> T,
) -> wasmtime::Result<T> {
    let (start, length) = (unsigned(ptr), unsigned(len));
    if length == 0 {
        // Some languages point empty buffers anywhere (Zig: to the end of the address space).
        return Ok(T::default());
    }
    let memory = memory(caller)?;
    let bytes = start.checked_add(length).and_then(|end| memory.data(&*caller).get(start..end));
    match bytes {
        Some(bytes) => Ok(copy(bytes.get(..limit).unwrap_or(bytes))),
        None => Err(bad_pointer(caller, ptr, length)),
    }
}

/// Replaces `bytes` by those at `ptr..ptr + len`; the guest yields when there are many.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) async fn read_in_pieces(
    caller: &mut Caller<'_, State>,
    ptr: i32,
    len: i32,
    mut bytes: Vec<u8>,
) -> wasmtime::Result<Vec<u8>> {
    bytes.clear();
    let range = range(caller, ptr, len)?;
    let length = range.len();
    if length == 0 {
        return Ok(bytes);
    }
    let (memory, end) = (memory(caller)?, range.end);
    if bytes.capacity() < length {
        buffers::give_back(bytes);
        bytes = buffers::take(length);
    }
    let mut from = range.start;
    while from < end {
        let to = end.min(from + PIECE_BYTES);
        bytes.extend_from_slice(memory.data(&*caller).get(from..to).unwrap_or_default());
        copied(caller, to - from).await;
        from = to;
    }
    Ok(bytes)
}

/// Copies `bytes` to `ptr`; the guest yields when there are many.
///
/// # Errors
/// Traps the guest when the range isn't within its memory.
pub(crate) async fn write_in_pieces(caller: &mut Caller<'_, State>, ptr: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let memory = memory(caller)?;
    let mut to = unsigned(ptr);
    if to.checked_add(bytes.len()).is_none_or(|end| end > memory.data_size(&*caller)) {
        return Err(bad_pointer(caller, ptr, bytes.len()));
    }
    for piece in bytes.chunks(PIECE_BYTES) {
        memory.write(&mut *caller, to, piece)?;
        to += piece.len();
        copied(caller, piece.len()).await;
    }
    Ok(())
}

/// Counts bytes that a host function has copied, and yields when there have been many.
pub(crate) async fn copied(caller: &mut Caller<'_, State>, bytes: usize) {
    copied_of(&mut caller.as_context_mut(), bytes).await;
}

/// The same for the guest in this store.
pub(crate) async fn copied_of(store: &mut StoreContextMut<'_, State>, bytes: usize) {
    if store.data_mut().copied(bytes) {
        yielded().await;
        begin_slice(&mut *store);
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
    caller.data_mut().failure = Some(failure);
    wasmtime::Error::msg(text)
}

/// A pointer or length as an unsigned number.
pub(crate) fn unsigned(value: i32) -> usize {
    value.cast_unsigned() as usize
}

/// A length for the guest. None that saturates gets here; if one did, it would be harmless.
pub(crate) fn length(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Where `ptr` and the `len` bytes from there on are in the guest's memory; none are anywhere.
///
/// # Errors
/// Traps the guest when they are not all within it.
pub(crate) fn range(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<Range<usize>> {
    let (start, length) = (unsigned(ptr), unsigned(len));
    let size = memory(caller)?.data_size(&*caller);
    match start.checked_add(length) {
        Some(end) if end <= size || length == 0 => Ok(start..end),
        _ => Err(bad_pointer(caller, ptr, length)),
    }
}

/// Stops the guest for a range that isn't within its memory.
pub(crate) fn bad_pointer(caller: &mut Caller<'_, State>, ptr: i32, len: usize) -> wasmtime::Error {
    let message =
        format!("the guest gave the host {len} bytes at {:#x}, which are not all in its memory", unsigned(ptr));
    fail(caller, CallError::Trap { kind: TrapKind::BadPointer, message, frames: Vec::new(), console: Vec::new() })
}

/// The guest's memory: remembered once it is instantiated, looked up while its start section still runs.
pub(crate) fn memory(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(wasmtime::Error::msg("the guest exports no memory")),
    }
}
