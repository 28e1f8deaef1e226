//! What the imports have in common: out values, texts, errors and traps.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::Caller;

use super::data::Data;
use super::handles::{Handles, HeapSize};
use crate::abi::guest::Guest;
use crate::abi::memory::{self, fail};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::{HostReply, HostRequest, Peer, ProcessRequest};
use crate::base::trap::TrapKind;
use crate::store::resting;

/// An import's result when it succeeded.
pub(in crate::abi::lunatic) const OK: i32 = 0;
/// An import's result when it failed: the out value is an error's handle.
pub(in crate::abi::lunatic) const FAILED: i32 = 1;
/// Longest text of an error, in bytes.
const MAX_ERROR_BYTES: usize = 1_000;
/// Longest text that a guest may give, in bytes: names, addresses.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Stops the guest for what it gave: a handle that there is not, for instance.
pub(in crate::abi::lunatic) fn trap(caller: &mut Caller<'_, State>, message: impl Into<String>) -> wasmtime::Error {
    let message = message.into();
    fail(caller, CallError::Trap { kind: TrapKind::Other, message, frames: Vec::new(), console: Vec::new() })
}

/// Stops the guest for more than the limit allows, in bytes.
pub(in crate::abi::lunatic) fn no_room(caller: &mut Caller<'_, State>, limit: Limit, allowed: u64) -> wasmtime::Error {
    fail(caller, CallError::limit(limit, allowed))
}

/// The same, for what its program may have in all.
pub(in crate::abi::lunatic) fn program_full(caller: &mut Caller<'_, State>) -> wasmtime::Error {
    let limit = caller.data().abi.guest.as_ref().map_or(0, |guest| guest.program.account.limit());
    no_room(caller, Limit::TotalMemory, u64::try_from(limit).unwrap_or(u64::MAX))
}

/// Stops the guest for a handle that it does not have.
pub(in crate::abi::lunatic) fn no_handle(caller: &mut Caller<'_, State>, what: &str, handle: u64) -> wasmtime::Error {
    trap(caller, format!("the guest has no {what} with the handle {handle}"))
}

/// Writes `value` to where the guest wants it: 8 bytes.
///
/// # Errors
/// Traps the guest when the place isn't within its memory.
pub(in crate::abi::lunatic) fn put(caller: &mut Caller<'_, State>, ptr: i32, value: u64) -> wasmtime::Result<()> {
    memory::write(caller, ptr, &value.to_le_bytes())
}

/// A handle for `entry` in one of the guest's tables.
///
/// # Errors
/// Traps the guest when the table is full; stops it when its program has no room for one more.
pub(in crate::abi::lunatic) fn handle<T: HeapSize, const MOST: usize>(
    caller: &mut Caller<'_, State>,
    table: impl FnOnce(&mut Data) -> &mut Handles<T, MOST>,
    entry: T,
) -> wasmtime::Result<u64> {
    let data = caller.data_mut().abi.lunatic.data();
    if !data.hold_more(Handles::<T, MOST>::bytes_of(&entry)) {
        return Err(program_full(caller));
    }
    let added = table(data).add(entry);
    data.recount();
    match added {
        Some(handle) => Ok(handle),
        None => Err(trap(caller, format!("the guest has {MOST} handles of one kind, and drops none of them"))),
    }
}

/// Takes what has a handle out of one of the guest's tables.
///
/// # Errors
/// Traps a guest that has no such `what`.
pub(in crate::abi::lunatic) fn take<T: HeapSize, const MOST: usize>(
    caller: &mut Caller<'_, State>,
    table: impl FnOnce(&mut Data) -> &mut Handles<T, MOST>,
    what: &str,
    handle: u64,
) -> wasmtime::Result<T> {
    let data = caller.data_mut().abi.lunatic.data();
    let Some(taken) = table(data).remove(handle) else { return Err(no_handle(caller, what, handle)) };
    data.recount();
    Ok(taken)
}

/// Fails an import: a handle of an error with this text goes to `ptr`.
///
/// # Errors
/// Traps the guest when the place isn't within its memory, or when it has too many errors; stops it when its program has no room for
/// one more.
pub(in crate::abi::lunatic) fn failed(
    caller: &mut Caller<'_, State>,
    ptr: i32,
    text: impl Into<String>,
) -> wasmtime::Result<i32> {
    let mut text = text.into();
    // Guests and servers choose words of some.
    text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    text.shrink_to_fit();
    let error = handle(caller, |data| &mut data.errors, text)?;
    put(caller, ptr, error)?;
    Ok(FAILED)
}

/// The text at `ptr..ptr + len`.
///
/// # Errors
/// Traps the guest when the range isn't within its memory, too long, or no UTF-8.
pub(in crate::abi::lunatic) fn text(caller: &mut Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<String> {
    if memory::unsigned(len) > MAX_TEXT_BYTES {
        return Err(trap(caller, format!("the guest gave a text of more than {MAX_TEXT_BYTES} bytes")));
    }
    let bytes = memory::read(caller, ptr, len, MAX_TEXT_BYTES)?;
    String::from_utf8(bytes).map_err(|_| trap(caller, "the guest gave a text that is no UTF-8"))
}

/// The guest as a process.
///
/// # Errors
/// Traps a guest that is none: a call, or one whose start section still runs.
pub(in crate::abi::lunatic) fn guest(caller: &mut Caller<'_, State>) -> wasmtime::Result<Arc<Guest>> {
    let state = caller.data();
    match &state.abi.guest {
        Some(guest) if state.instance.is_some() => Ok(Arc::clone(guest)),
        Some(_) => Err(trap(caller, "a start section can't use processes: it runs before its process does")),
        None => Err(trap(caller, "only processes can do this, and the guest serves a call")),
    }
}

/// The future of an import that may wait.
pub(in crate::abi::lunatic) type ImportFuture<'a, T> = Box<dyn Future<Output = wasmtime::Result<T>> + Send + 'a>;

/// An import that is done at once, with a result that is known beforehand: it allocates nothing.
pub(in crate::abi::lunatic) fn done<'a, const CODE: i32>() -> ImportFuture<'a, i32> {
    struct Done<const CODE: i32>;
    impl<const CODE: i32> Future for Done<CODE> {
        type Output = wasmtime::Result<i32>;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(CODE))
        }
    }
    Box::new(Done::<CODE>)
}

/// An import that has failed at once.
pub(in crate::abi::lunatic) fn refused<'a, T: Send + 'a>(error: wasmtime::Error) -> ImportFuture<'a, T> {
    Box::new(std::future::ready(Err(error)))
}

/// Asks the driver, and waits for its answer.
pub(in crate::abi::lunatic) async fn ask(caller: &mut Caller<'_, State>, request: ProcessRequest) -> HostReply {
    let reply = match caller.data().call.clone() {
        Some(call) => call.channel.ask(HostRequest::Process(request)).await,
        None => Err("the guest has no driver".into()),
    };
    resting::begin_slice(&mut *caller);
    reply
}

/// Another process, as requests name it.
pub(in crate::abi::lunatic) fn peer(guest: &Guest, id: u64) -> Peer {
    let process = guest.program.process(id);
    let is_guest = process.as_ref().is_none_or(|process| process.is_guest());
    let is_away = guest.program.place.is_away(id);
    Peer { id, address: process.and_then(|process| process.address()), is_guest, is_away }
}
