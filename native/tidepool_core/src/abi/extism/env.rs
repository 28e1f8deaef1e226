//! The functions of `extism:host/env`.

use std::sync::Arc;

use wasmtime::{AsContextMut, Caller, Linker, StoreContextMut};

use super::blocks::Block;
use super::kernel::{self, kernel};
use super::shared::{Kernel, MODULE, Span};
use crate::abi::slots::State;
use crate::abi::typed::asking;
use crate::base::console::{MAX_LINE_BYTES, Stream};

/// Longest name of a variable or of what is configured: there are none of longer ones.
const MAX_NAME_BYTES: u64 = 1 << 20;
/// The level from which on lines are printed, as `get_log_level` says it.
const LEVEL: i32 = 2;
/// Functions that print a line, their levels, and what is printed before it.
const LOGS: [(&str, i32, &str); 5] = [
    ("log_trace", 0, "trace"),
    ("log_debug", 1, "debug"),
    ("log_info", 2, "info"),
    ("log_warn", 3, "warn"),
    ("log_error", 4, "error"),
];

/// Offers them, but for those about requests.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    blocks(linker)?;
    spans(linker)?;
    linker
        .func_wrap_async(MODULE, "config_get", |caller, (key,): (i64,)| Box::new(config_get(caller, unsigned(key))))?;
    linker.func_wrap_async(MODULE, "var_get", |caller, (key,): (i64,)| Box::new(var_get(caller, unsigned(key))))?;
    linker.func_wrap_async(MODULE, "var_set", |caller, (key, value): (i64, i64)| {
        Box::new(var_set(caller, unsigned(key), unsigned(value)))
    })?;
    linker.func_wrap(MODULE, "get_log_level", || LEVEL)?;
    for (name, level, word) in LOGS {
        linker.func_wrap_async(MODULE, name, move |caller, (text,): (i64,)| {
            Box::new(log(caller, level, word, unsigned(text)))
        })?;
    }
    Ok(())
}

/// Those that take and free blocks, and reach into them.
fn blocks(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "alloc", |caller, (length,): (i64,)| Box::new(alloc(caller, unsigned(length))))?;
    linker
        .func_wrap(MODULE, "free", |mut caller: Caller<'_, State>, offset: i64| free(&mut caller, unsigned(offset)))?;
    // The unsafe one saves Extism's runtime a search; here it is as safe as the other.
    for name in ["length", "length_unsafe"] {
        linker.func_wrap(MODULE, name, |mut caller: Caller<'_, State>, offset: i64| {
            let block = kernel(&mut caller)?.blocks.find(unsigned(offset));
            Ok(block.map_or(0, |block| i64::from(block.length)))
        })?;
    }
    linker.func_wrap(MODULE, "load_u8", |mut caller: Caller<'_, State>, offset: i64| {
        let [byte] = kernel::load(&mut caller, unsigned(offset))?;
        Ok(i32::from(byte))
    })?;
    linker.func_wrap(MODULE, "load_u64", |mut caller: Caller<'_, State>, offset: i64| {
        Ok(i64::from_le_bytes(kernel::load(&mut caller, unsigned(offset))?))
    })?;
    linker.func_wrap(MODULE, "store_u8", |mut caller: Caller<'_, State>, offset: i64, byte: i32| {
        let [byte, ..] = byte.to_le_bytes();
        kernel::store(&mut caller, unsigned(offset), &[byte])
    })?;
    linker.func_wrap(MODULE, "store_u64", |mut caller: Caller<'_, State>, offset: i64, bytes: i64| {
        kernel::store(&mut caller, unsigned(offset), &bytes.to_le_bytes())
    })?;
    linker.func_wrap(MODULE, "memory_bytes", |mut caller: Caller<'_, State>| {
        Ok(kernel::size(&mut caller)?.cast_signed())
    })?;
    linker.func_wrap_async(MODULE, "reset", |caller, (): ()| Box::new(reset(caller)))?;
    Ok(())
}

/// A number of the kernel's.
type Number = fn(&Kernel) -> u64;

/// Those that are about input, output and error.
fn spans(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "input_load_u8", |mut caller: Caller<'_, State>, offset: i64| {
        let [byte] = within(&mut caller, unsigned(offset))?;
        Ok(i32::from(byte))
    })?;
    linker.func_wrap(MODULE, "input_load_u64", |mut caller: Caller<'_, State>, offset: i64| {
        Ok(i64::from_le_bytes(within(&mut caller, unsigned(offset))?))
    })?;
    linker.func_wrap(MODULE, "input_set", |mut caller: Caller<'_, State>, offset: i64, length: i64| {
        let input = kernel::span(&mut caller, unsigned(offset), unsigned(length))?;
        kernel::set_input(&mut caller.as_context_mut(), input)
    })?;
    linker.func_wrap(MODULE, "output_set", |mut caller: Caller<'_, State>, offset: i64, length: i64| {
        // What is nowhere is no output, and none in place of one that was set.
        if offset != 0 {
            let output = kernel::span(&mut caller, unsigned(offset), unsigned(length))?;
            kernel(&mut caller)?.output = output;
        }
        Ok(())
    })?;
    let spans: [(&str, Number); 5] = [
        ("input_offset", |kernel| kernel.input.offset),
        ("input_length", |kernel| kernel.input.length),
        ("output_offset", |kernel| kernel.output.offset),
        ("output_length", |kernel| kernel.output.length),
        ("error_get", |kernel| kernel.error),
    ];
    for (name, of) in spans {
        linker
            .func_wrap(MODULE, name, move |mut caller: Caller<'_, State>| Ok(of(kernel(&mut caller)?).cast_signed()))?;
    }
    linker.func_wrap(MODULE, "error_set", |mut caller: Caller<'_, State>, offset: i64| {
        kernel(&mut caller)?.error = unsigned(offset);
        Ok(())
    })?;
    Ok(())
}

/// Offsets and lengths have no sign.
pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// A block of zeros; one of no bytes begins at 0.
///
/// # Errors
/// Traps the plug-in when there is no room for it: few look at what they are given.
async fn alloc(mut caller: Caller<'_, State>, length: u64) -> wasmtime::Result<i64> {
    kernel(&mut caller)?;
    if length == 0 {
        return Ok(0);
    }
    let block = kernel::zeroed(&mut caller.as_context_mut(), length).await??;
    Ok(block.offset.into())
}

async fn reset(mut caller: Caller<'_, State>) -> wasmtime::Result<()> {
    kernel(&mut caller)?;
    kernel::clear(&mut caller.as_context_mut()).await
}

fn free(caller: &mut Caller<'_, State>, offset: u64) -> wasmtime::Result<()> {
    let kernel = kernel(caller)?;
    if kernel.release(offset) && kernel.input.offset == offset {
        let input = Span { length: 0, ..kernel.input };
        kernel::set_input(&mut caller.as_context_mut(), input)?;
    }
    Ok(())
}

/// The bytes at an offset in the input, zeros where they are not all in it.
fn within<const N: usize>(caller: &mut Caller<'_, State>, offset: u64) -> wasmtime::Result<[u8; N]> {
    let input = kernel(caller)?.input;
    match offset.checked_add(N as u64) {
        Some(end) if end <= input.length => kernel::load(caller, input.offset.saturating_add(offset)),
        _ => Ok([0; N]),
    }
}

/// The block that a plug-in gives by its offset; 0 is one of no bytes.
///
/// # Errors
/// Traps the plug-in, with the words of Extism's runtime, when none begins there.
pub(super) fn block(
    store: &mut StoreContextMut<'_, State>,
    offset: u64,
    invalid: &str,
) -> wasmtime::Result<Option<Block>> {
    if offset == 0 {
        return Ok(None);
    }
    match kernel::here(store.data_mut())?.blocks.find(offset) {
        Some(block) => Ok(Some(block)),
        None => Err(asking::trap(store, format!("{invalid}: {offset}"))),
    }
}

/// What a block holds, up to so many bytes.
pub(super) async fn bytes(
    store: &mut StoreContextMut<'_, State>,
    block: Option<Block>,
    most: u64,
) -> wasmtime::Result<Vec<u8>> {
    match block {
        Some(Block { offset, length, .. }) => {
            kernel::read(store, Span { offset: offset.into(), length: u64::from(length).min(most) }).await
        }
        None => Ok(Vec::new()),
    }
}

/// The name that a block holds; `None` of one that is too long to be one.
///
/// # Errors
/// Traps the plug-in when it is no text.
async fn name(store: &mut StoreContextMut<'_, State>, block: Option<Block>) -> wasmtime::Result<Option<String>> {
    if block.is_some_and(|block| u64::from(block.length) > MAX_NAME_BYTES) {
        return Ok(None);
    }
    let bytes = bytes(store, block, MAX_NAME_BYTES).await?;
    match String::from_utf8(bytes) {
        Ok(name) => Ok(Some(name)),
        Err(error) => Err(asking::trap(store, error.utf8_error().to_string())),
    }
}

pub(super) fn release(store: &mut StoreContextMut<'_, State>, block: Option<Block>) -> wasmtime::Result<()> {
    if let Some(block) = block {
        kernel::here(store.data_mut())?.release(block.offset.into());
    }
    Ok(())
}

/// What is configured under a name, in a block.
async fn config_get(mut caller: Caller<'_, State>, key: u64) -> wasmtime::Result<i64> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    let key = block(&mut store, key, "invalid handle offset for config key")?;
    let name = name(&mut store, key).await?;
    release(&mut store, key)?;
    let function = Arc::clone(&store.data().function);
    let value = name.and_then(|name| function.config.get(&*name));
    let value = value.map_or(&[][..], |value| value.as_bytes());
    Ok(kernel::holding(&mut store, value).await??.cast_signed())
}

/// The variable of a name, in a block.
async fn var_get(mut caller: Caller<'_, State>, key: u64) -> wasmtime::Result<i64> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    let key = block(&mut store, key, "invalid handle offset for var key")?;
    let name = name(&mut store, key).await?;
    release(&mut store, key)?;
    // Taken out for the copy, which borrows the store for its memory.
    let variables = store.data_mut().abi.extism.variables.take();
    let value = name.as_deref().zip(variables.as_deref()).and_then(|(name, variables)| variables.get(name));
    let held = kernel::holding(&mut store, value.unwrap_or_default()).await;
    store.data_mut().abi.extism.variables = variables;
    Ok(held??.cast_signed())
}

/// Gives a variable the bytes of a block; 0 removes it.
async fn var_set(mut caller: Caller<'_, State>, key: u64, value: u64) -> wasmtime::Result<()> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    let key = block(&mut store, key, "invalid handle offset for var key")?;
    let name = name(&mut store, key).await?;
    if value == 0 {
        let variables = store.data_mut().abi.extism.variables.as_deref_mut();
        if let Some((variables, name)) = variables.zip(name) {
            variables.remove(&name);
        }
        return release(&mut store, key);
    }
    let value = block(&mut store, value, "invalid handle offset for var value")?;
    let length = value.map_or(0, |block| block.length as usize);
    let state = store.data_mut();
    let variables = state.abi.extism.variables.get_or_insert_default();
    let fits = name.as_ref().and_then(|name| variables.with(name, length)).is_some_and(|bytes| {
        let more = bytes.saturating_sub(variables.charged);
        let has_room = more == 0 || state.meter.keep(more);
        variables.charged += if has_room { more } else { 0 };
        has_room
    });
    let (true, Some(name)) = (fits, name) else {
        return Err(asking::trap(&mut store, "Variable store is full".into()));
    };
    let bytes = bytes(&mut store, value, u64::MAX).await?;
    release(&mut store, value)?;
    release(&mut store, key)?;
    store.data_mut().abi.extism.variables.get_or_insert_default().set(name, bytes);
    Ok(())
}

/// Prints a line.
async fn log(mut caller: Caller<'_, State>, level: i32, word: &str, text: u64) -> wasmtime::Result<()> {
    kernel(&mut caller)?;
    let mut store = caller.as_context_mut();
    if level < LEVEL {
        kernel::here(store.data_mut())?.release(text);
        return Ok(());
    }
    let text = block(&mut store, text, "invalid handle offset for log message")?;
    let mut line = format!("{word}: ").into_bytes();
    line.extend(bytes(&mut store, text, MAX_LINE_BYTES as u64).await?);
    store.data_mut().print(Stream::Console, &line);
    release(&mut store, text)
}
