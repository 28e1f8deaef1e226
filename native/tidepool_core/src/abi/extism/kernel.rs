//! What the host does with the memory that it shares with a plug-in.

use wasmtime::{Caller, StoreContextMut, Trap, Val};

use super::blocks::{Block, NoBlock};
use super::shared::{Kernel, NONE, Span};
use crate::abi::memory::{PIECE_BYTES, copied_of};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::trap::TrapKind;
use crate::os::buffers;

const PAGE_BYTES: usize = 64 << 10;
/// Bytes that an instruction of eight reads beyond the first.
const BEYOND: u64 = 7;

/// There is no memory left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl From<Full> for wasmtime::Error {
    fn from(_full: Full) -> Self {
        wasmtime::Error::msg("out of memory")
    }
}

/// The kernel of the calling instance.
///
/// # Errors
/// When its module was compiled without one.
pub(super) fn kernel<'a>(caller: &'a mut Caller<'_, State>) -> wasmtime::Result<&'a mut Kernel> {
    if caller.data().abi.extism.kernel.is_none() {
        let found = Kernel::of(|name| caller.get_export(name));
        caller.data_mut().abi.extism.kernel = found.map(Box::new);
    }
    here(caller.data_mut())
}

/// The kernel, once it was looked for.
pub(super) fn here(state: &mut State) -> wasmtime::Result<&mut Kernel> {
    state.abi.extism.kernel.as_deref_mut().ok_or_else(none)
}

/// It has none.
fn none() -> wasmtime::Error {
    wasmtime::Error::msg("the instance lacks the memory that its module was given")
}

/// Forgets all blocks, input, output and error: a call begins. What was in the blocks is gone, for the plug-in reads the memory
/// wherever it likes.
pub(super) async fn clear(store: &mut StoreContextMut<'_, State>) -> wasmtime::Result<()> {
    let kernel = here(store.data_mut())?;
    forget(kernel);
    let end = std::mem::take(&mut kernel.used);
    (kernel.freed, kernel.output, kernel.error) = (NONE, Span::default(), 0);
    let first = kernel.blocks.end();
    set_input(store, Span::default())?;
    set_end(store, first)?;
    // With what the last instruction may have written beyond it.
    zero(store, 0, (end as usize).saturating_add(BEYOND as usize)).await
}

/// Forgets all blocks of a call that is over, and not how far its plug-in may have written: the next one begins with zeros.
pub(super) fn forget(kernel: &mut Kernel) {
    kernel.used = kernel.used.max(kernel.blocks.end());
    kernel.blocks.clear();
}

/// Has the instructions write no further than blocks are.
fn set_end(store: &mut StoreContextMut<'_, State>, end: u32) -> wasmtime::Result<()> {
    let global = here(store.data_mut())?.end;
    global.set(&mut *store, Val::I64(end.into()))
}

/// Makes the bytes there zeros, as far as there are any.
async fn zero(store: &mut StoreContextMut<'_, State>, mut from: usize, end: usize) -> wasmtime::Result<()> {
    let memory = here(store.data_mut())?.memory;
    let end = end.min(memory.data_size(&*store));
    while from < end {
        let to = end.min(from + PIECE_BYTES);
        if let Some(piece) = memory.data_mut(&mut *store).get_mut(from..to) {
            piece.fill(0);
        }
        copied_of(store, to - from).await;
        from = to;
    }
    Ok(())
}

/// Has the instructions find the input there.
pub(super) fn set_input(store: &mut StoreContextMut<'_, State>, input: Span) -> wasmtime::Result<()> {
    let kernel = here(store.data_mut())?;
    if kernel.input == input {
        return Ok(());
    }
    kernel.input = input;
    let values = [input.offset, input.length, input.length.saturating_sub(BEYOND)];
    for (global, value) in kernel.part.into_iter().zip(values) {
        global.set(&mut *store, Val::I64(value.cast_signed()))?;
    }
    Ok(())
}

/// A new block. What is in it is for who takes it to say.
fn take(store: &mut StoreContextMut<'_, State>, length: u64) -> wasmtime::Result<Result<Block, Full>> {
    let memory = here(store.data_mut())?.memory;
    let there = memory.data_size(&*store);
    let state = store.data_mut();
    let kernel = state.abi.extism.kernel.as_deref_mut().ok_or_else(none)?;
    let block = match kernel.blocks.take(length, there, |bytes| state.meter.keep(bytes)) {
        Ok(block) => block,
        Err(NoBlock::Length) => {
            // More than any memory has, whatever the limit is.
            state.meter.denied = Some(Limit::Memory);
            return Ok(Err(Full));
        }
        Err(NoBlock::Room) => return Ok(Err(Full)),
    };
    let pages = (block.end() as usize).saturating_sub(there).div_ceil(PAGE_BYTES) as u64;
    if pages > 0 && memory.grow(&mut *store, pages).is_err() {
        here(store.data_mut())?.blocks.untake(block);
        return Ok(Err(Full));
    }
    let end = here(store.data_mut())?.blocks.end();
    set_end(store, end)?;
    Ok(Ok(block))
}

/// A new block of zeros.
pub(super) async fn zeroed(
    store: &mut StoreContextMut<'_, State>,
    length: u64,
) -> wasmtime::Result<Result<Block, Full>> {
    let Ok(block) = take(store, length)? else { return Ok(Err(Full)) };
    let kernel = here(store.data_mut())?;
    let (freed, is_last) = (kernel.freed.clone(), kernel.blocks.end() == block.end());
    if is_last {
        // An instruction may have begun in the block before, and have written on.
        zero(store, block.offset as usize, block.offset as usize + BEYOND as usize).await?;
    }
    let (from, end) = (freed.start.max(block.offset as usize), freed.end.min(block.end() as usize));
    zero(store, from, end).await?;
    Ok(Ok(block))
}

/// A new block that holds `bytes`; that of no bytes is none, and begins at 0.
pub(super) async fn holding(
    store: &mut StoreContextMut<'_, State>,
    bytes: &[u8],
) -> wasmtime::Result<Result<u64, Full>> {
    if bytes.is_empty() {
        return Ok(Ok(0));
    }
    let Ok(block) = take(store, bytes.len() as u64)? else { return Ok(Err(Full)) };
    let memory = here(store.data_mut())?.memory;
    let mut to = block.offset as usize;
    for piece in bytes.chunks(PIECE_BYTES) {
        memory.write(&mut *store, to, piece)?;
        to += piece.len();
        copied_of(store, piece.len()).await;
    }
    Ok(Ok(block.offset.into()))
}

/// The bytes there; [`Span`]s are checked where they come from.
pub(super) async fn read(store: &mut StoreContextMut<'_, State>, span: Span) -> wasmtime::Result<Vec<u8>> {
    let memory = here(store.data_mut())?.memory;
    let (mut from, length) = (usize::try_from(span.offset)?, usize::try_from(span.length)?);
    let end = from.checked_add(length).filter(|end| *end <= memory.data_size(&*store));
    let Some(end) = end else { return Err(Trap::MemoryOutOfBounds.into()) };
    let mut bytes = buffers::take(length);
    while from < end {
        let to = end.min(from + PIECE_BYTES);
        bytes.extend_from_slice(memory.data(&*store).get(from..to).unwrap_or_default());
        copied_of(store, to - from).await;
        from = to;
    }
    Ok(bytes)
}

/// The text that the plug-in has set as its error, up to so many bytes; `None` when it has set none.
pub(super) fn error_text(store: &mut StoreContextMut<'_, State>, most: usize) -> Option<String> {
    let kernel = store.data().abi.extism.kernel.as_deref()?;
    let (memory, block) = (kernel.memory, kernel.blocks.find(kernel.error)?);
    let bytes = memory.data(&*store).get(block.offset as usize..)?;
    let bytes = bytes.get(..(block.length as usize).min(most))?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// A span that a plug-in gives.
///
/// # Errors
/// Traps the plug-in when it is not within the memory.
pub(super) fn span(caller: &mut Caller<'_, State>, offset: u64, length: u64) -> wasmtime::Result<Span> {
    let memory = kernel(caller)?.memory;
    let end = offset.checked_add(length);
    if end.is_some_and(|end| end <= memory.data_size(&*caller) as u64) {
        return Ok(Span { offset, length });
    }
    let message =
        format!("the plug-in gave the host {length} bytes at {offset:#x}, which are not all in its blocks' memory");
    let kind = TrapKind::BadPointer;
    let failure = CallError::Trap { kind, message: message.clone(), frames: Vec::new(), console: Vec::new() };
    caller.data_mut().failure = Some(failure);
    Err(wasmtime::Error::msg(message))
}

/// How large the memory is, in bytes.
pub(super) fn size(caller: &mut Caller<'_, State>) -> wasmtime::Result<u64> {
    let memory = kernel(caller)?.memory;
    Ok(memory.data_size(&*caller) as u64)
}

/// The bytes at an offset that the plug-in gives, as the instruction has them.
///
/// # Errors
/// Traps the plug-in when they are not all in the memory.
pub(super) fn load<const N: usize>(caller: &mut Caller<'_, State>, offset: u64) -> wasmtime::Result<[u8; N]> {
    let memory = kernel(caller)?.memory;
    let bytes = usize::try_from(offset).ok().and_then(|from| memory.data(&*caller).get(from..)?.first_chunk::<N>());
    bytes.copied().ok_or_else(|| Trap::MemoryOutOfBounds.into())
}

/// Writes bytes at an offset that the plug-in gives, as the instruction does.
///
/// # Errors
/// Traps the plug-in when they don't begin before the end of the blocks, or are not all in the memory.
pub(super) fn store(caller: &mut Caller<'_, State>, offset: u64, bytes: &[u8]) -> wasmtime::Result<()> {
    let Kernel { memory, blocks, .. } = kernel(caller)?;
    let (memory, end) = (*memory, u64::from(blocks.end()));
    let offset = usize::try_from(offset).ok().filter(|at| (*at as u64) < end).unwrap_or(usize::MAX);
    memory.write(&mut *caller, offset, bytes).map_err(|_outside| Trap::MemoryOutOfBounds.into())
}
