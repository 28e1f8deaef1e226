//! `lunatic::message`: messages that a process writes and reads.
//!
//! There is one at a time, the scratch. Serialisers call `write_data` and `read_data` for each scalar, so both are plain
//! functions; what is more than they copy at once is for the guest's next call, as the counts that they return say.

use wasmtime::{AsContextMut, Caller, Linker};

use crate::abi::guest::Module;
use crate::abi::lunatic::support::{handle, no_handle, program_full, trap};
use crate::abi::memory::{self, length};
use crate::abi::slots::State;
use crate::process::message::{Data, Message};

pub(in crate::abi::lunatic) const MODULE: &str = "lunatic::message";
/// Bytes that one call copies at most.
const MOST_BYTES: usize = 1 << 20;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "create_data", |mut caller: Caller<'_, State>, tag: i64, capacity: u64| {
        let message = Data::new(tag, capacity);
        if !caller.data_mut().abi.lunatic.data().hold_scratch(message.size()) {
            return Err(program_full(&mut caller));
        }
        caller.data_mut().abi.lunatic.data().scratch = Some(Message::Data(message));
        Ok(())
    })?;
    linker.func_wrap(MODULE, "write_data", write_data)?;
    linker.func_wrap(MODULE, "read_data", read_data)?;
    linker.func_wrap(MODULE, "seek_data", |mut caller: Caller<'_, State>, position: u64| {
        data(&mut caller)?.position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(())
    })?;
    linker.func_wrap(MODULE, "data_size", |mut caller: Caller<'_, State>| {
        Ok(u64::try_from(data(&mut caller)?.bytes.len()).unwrap_or(u64::MAX))
    })?;
    linker.func_wrap(MODULE, "get_tag", get_tag)?;
    linker.func_wrap(MODULE, "get_process_id", get_process_id)?;
    linker.func_wrap(MODULE, "push_module", push_module)?;
    linker.func_wrap(MODULE, "take_module", take_module)?;
    Ok(())
}

/// The message that is being written or read.
///
/// # Errors
/// Traps the guest when there is none, or when it is a notice.
pub(in crate::abi::lunatic) fn data<'a>(caller: &'a mut Caller<'_, State>) -> wasmtime::Result<&'a mut Data> {
    if !matches!(caller.data_mut().abi.lunatic.data().scratch, Some(Message::Data(_))) {
        return Err(no_message(caller));
    }
    match &mut caller.data_mut().abi.lunatic.data().scratch {
        Some(Message::Data(data)) => Ok(data),
        _ => Err(wasmtime::Error::msg("the message is gone")),
    }
}

fn no_message(caller: &mut Caller<'_, State>) -> wasmtime::Error {
    trap(caller, "the guest has no message: create_data makes one, and receive gets one")
}

/// Has the guest yield at its next check when it has copied much.
fn copied(caller: &mut Caller<'_, State>, bytes: usize) {
    if caller.data_mut().copied(bytes) {
        caller.as_context_mut().set_epoch_deadline(0);
    }
}

fn write_data(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let memory = memory::memory(&mut caller)?;
    let (start, length) = (memory::unsigned(ptr), memory::unsigned(len));
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    let data = state.abi.lunatic.data();
    let most = data.max_message.unwrap_or(MOST_BYTES);
    let Some(Message::Data(scratch)) = &mut data.scratch else { return Err(no_message(&mut caller)) };
    let Some(given) = start.checked_add(length).and_then(|end| bytes.get(start..end)) else {
        return Err(memory::bad_pointer(&mut caller, ptr, length));
    };
    let given = given.get(..MOST_BYTES).unwrap_or(given);
    let length = scratch.bytes.len().saturating_add(given.len());
    if length > most {
        let message = format!("a message may have {most} bytes, as many as a mailbox, and the guest writes more");
        return Err(trap(&mut caller, message));
    }
    // What is allocated is counted before: few writes have it grow.
    let missing = length.saturating_sub(scratch.bytes.capacity());
    if missing > 0 {
        let grown = scratch.bytes.capacity().saturating_mul(2).clamp(length, most.max(length));
        let size = scratch.size() - scratch.bytes.capacity() + grown;
        if !data.hold_scratch(size) {
            return Err(program_full(&mut caller));
        }
        let Some(Message::Data(scratch)) = &mut data.scratch else { return Err(no_message(&mut caller)) };
        scratch.bytes.reserve_exact(grown - scratch.bytes.len());
        scratch.bytes.extend_from_slice(given);
    } else {
        scratch.bytes.extend_from_slice(given);
    }
    let written = given.len();
    copied(&mut caller, written);
    Ok(self::length(written))
}

fn read_data(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let memory = memory::memory(&mut caller)?;
    let (start, length) = (memory::unsigned(ptr), memory::unsigned(len));
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    let Some(Message::Data(scratch)) = &mut state.abi.lunatic.data().scratch else {
        return Err(no_message(&mut caller));
    };
    let Some(place) = start.checked_add(length).and_then(|end| bytes.get_mut(start..end)) else {
        return Err(memory::bad_pointer(&mut caller, ptr, length));
    };
    let unread = scratch.unread();
    let count = place.len().min(unread.len()).min(MOST_BYTES);
    if let (Some(place), Some(unread)) = (place.get_mut(..count), unread.get(..count)) {
        place.copy_from_slice(unread);
    }
    scratch.position = scratch.position.saturating_add(count);
    copied(&mut caller, count);
    Ok(self::length(count))
}

fn get_tag(mut caller: Caller<'_, State>) -> wasmtime::Result<i64> {
    match &caller.data_mut().abi.lunatic.data().scratch {
        Some(Message::Data(data)) => Ok(data.tag),
        Some(Message::LinkDied { tag }) => Ok(*tag),
        Some(Message::ProcessDied { .. }) => Ok(0),
        None => Err(trap(&mut caller, "the guest has no message whose tag it could get")),
    }
}

fn get_process_id(mut caller: Caller<'_, State>) -> wasmtime::Result<u64> {
    match &caller.data_mut().abi.lunatic.data().scratch {
        Some(Message::ProcessDied { id }) => Ok(*id),
        Some(_) => Ok(0),
        None => Err(trap(&mut caller, "the guest has no message whose process it could get")),
    }
}

/// Takes the message that was written, to send it.
///
/// # Errors
/// Traps the guest when there is none.
pub(super) fn take_data(caller: &mut Caller<'_, State>) -> wasmtime::Result<Data> {
    data(caller)?;
    match caller.data_mut().abi.lunatic.data().scratch.take() {
        Some(Message::Data(mut data)) => {
            data.position = 0;
            Ok(data)
        }
        _ => Err(wasmtime::Error::msg("the message is gone")),
    }
}

/// Modules are copied into a message, not moved.
fn push_module(mut caller: Caller<'_, State>, module: u64) -> wasmtime::Result<u64> {
    let Some(found) = caller.data_mut().abi.lunatic.data().modules.get(module).cloned() else {
        return Err(no_handle(&mut caller, "module", module));
    };
    let pushed = data(&mut caller)?.push(Box::new(found), 0);
    pushed.ok_or_else(|| trap(&mut caller, "the message has more resources than one may have"))
}

fn take_module(mut caller: Caller<'_, State>, index: u64) -> wasmtime::Result<u64> {
    let Some(module) = data(&mut caller)?.take::<Module>(index) else {
        return Err(no_handle(&mut caller, "module in its message", index));
    };
    handle(&mut caller, |data| &mut data.modules, module)
}
