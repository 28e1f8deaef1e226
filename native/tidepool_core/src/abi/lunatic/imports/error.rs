//! `lunatic::error`: the texts of errors.

use wasmtime::{Caller, Linker};

use crate::abi::lunatic::support::{no_handle, take};
use crate::abi::memory::{self, length};
use crate::abi::slots::State;

const MODULE: &str = "lunatic::error";

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "string_size", string_size)?;
    linker.func_wrap(MODULE, "to_string", to_string)?;
    linker.func_wrap(MODULE, "drop", drop_error)?;
    Ok(())
}

fn string_size(mut caller: Caller<'_, State>, error: u64) -> wasmtime::Result<i32> {
    match caller.data_mut().abi.lunatic.data().errors.get(error) {
        Some(text) => Ok(length(text.len())),
        None => Err(no_handle(&mut caller, "error", error)),
    }
}

fn to_string(mut caller: Caller<'_, State>, error: u64, ptr: i32) -> wasmtime::Result<()> {
    // Taken out for the copy, which borrows the caller for its memory.
    let taken = caller.data_mut().abi.lunatic.data().errors.change(error, std::mem::take);
    let Some(text) = taken else { return Err(no_handle(&mut caller, "error", error)) };
    memory::write(&mut caller, ptr, text.as_bytes())?;
    caller.data_mut().abi.lunatic.data().errors.change(error, |entry| *entry = text);
    Ok(())
}

fn drop_error(mut caller: Caller<'_, State>, error: u64) -> wasmtime::Result<()> {
    take(&mut caller, |data| &mut data.errors, "error", error).map(drop)
}
