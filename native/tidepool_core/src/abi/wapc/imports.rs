//! The nine functions that waPC guests may import.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use wasmtime::{AsContextMut, Caller, Linker};

use crate::abi::memory::{self, PIECE_BYTES, fail, length};
use crate::abi::outgoing::asked::{self, Answered};
use crate::abi::rehearsal::{self, Rehearsal};
use crate::abi::slots::State;
use crate::base::console::{MAX_LINE_BYTES, Stream};
use crate::base::error::CallError;
use crate::base::limits::{ERROR_BYTES, Limit, Limits};
use crate::base::request::{HostCall, HostReply, HostRequest};
use crate::store::host_share::HostShare;
use crate::store::resting;

/// Import module of waPC.
pub(super) const MODULE: &str = "wapc";
/// The import that prints a line.
const CONSOLE_LOG: &str = "__console_log";
/// Longest binding, namespace or operation of a host call, in bytes.
const MAX_NAME_BYTES: usize = 4 << 10;

/// Offers the nine functions.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "__guest_request", guest_request)?;
    linker.func_wrap_async(MODULE, "__guest_response", guest_response)?;
    linker.func_wrap(MODULE, "__guest_error", guest_error)?;
    linker.func_wrap(MODULE, "__host_response_len", host_response_len)?;
    linker.func_wrap_async(MODULE, "__host_response", host_response)?;
    linker.func_wrap(MODULE, "__host_error_len", host_error_len)?;
    linker.func_wrap_async(MODULE, "__host_error", host_error)?;
    linker.func_wrap(MODULE, CONSOLE_LOG, console_log)?;
    linker.func_wrap_async(MODULE, "__host_call", |caller, target: Target| Box::new(host_call(caller, target)))?;
    Ok(())
}

/// Offers what start functions may import while they run once for all instances.
pub(super) fn rehearse(linker: &mut Linker<Rehearsal>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, CONSOLE_LOG, keep_line)?;
    Ok(())
}

/// Keeps a line.
fn keep_line(mut caller: Caller<'_, Rehearsal>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let memory = rehearsal::memory(&mut caller).ok_or_else(|| wasmtime::Error::msg("it prints, and has no memory"))?;
    let (bytes, rehearsal) = memory.data_and_store_mut(&mut caller);
    let start = usize::try_from(ptr.cast_unsigned()).unwrap_or(usize::MAX);
    let length = usize::try_from(len.cast_unsigned()).unwrap_or(usize::MAX);
    let text = start.checked_add(length).and_then(|end| bytes.get(start..end));
    let text = text.ok_or_else(|| wasmtime::Error::msg("it prints what is outside of its memory"))?;
    rehearsal.print(Stream::Console, text.get(..MAX_LINE_BYTES).unwrap_or(text))
}

/// Pointers and lengths of binding, namespace, operation and payload.
type Target = (i32, i32, i32, i32, i32, i32, i32, i32);

/// The future of an import that may take long.
type ImportFuture<'a> = Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>;

/// An import that is done at once. Success, the usual case, allocates nothing.
fn done<'a>(outcome: wasmtime::Result<()>) -> ImportFuture<'a> {
    struct Success;
    impl Future for Success {
        type Output = wasmtime::Result<()>;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(()))
        }
    }
    match outcome {
        Ok(()) => Box::new(Success),
        error => Box::new(std::future::ready(error)),
    }
}

fn guest_request(mut caller: Caller<'_, State>, (operation, payload): (i32, i32)) -> ImportFuture<'_> {
    // Of its own for the copy, which borrows the caller for its memory. Start functions have no call.
    let Some(call) = caller.data().call.clone() else { return done(Ok(())) };
    let request = &call.request;
    let bytes = request.payload.bytes();
    if request.operation.len().saturating_add(bytes.len()) <= PIECE_BYTES {
        let written = memory::write(&mut caller, operation, &request.operation)
            .and_then(|()| memory::write(&mut caller, payload, bytes));
        return done(written);
    }
    Box::new(async move {
        memory::write_in_pieces(&mut caller, operation, &call.request.operation).await?;
        memory::write_in_pieces(&mut caller, payload, call.request.payload.bytes()).await
    })
}

fn guest_response(mut caller: Caller<'_, State>, (ptr, len): (i32, i32)) -> ImportFuture<'_> {
    let limits = &caller.data().function.limits;
    let allowed = limits.reply_bytes;
    if !Limits::fits(memory::unsigned(len), allowed) && in_memory(&caller, ptr, len) {
        return done(Err(fail(&mut caller, CallError::limit(Limit::Reply, allowed))));
    }
    if memory::unsigned(len) <= PIECE_BYTES {
        let reply = memory::read(&mut caller, ptr, len, usize::MAX);
        return done(reply.map(|reply| caller.data_mut().abi.wapc.reply = Some(reply)));
    }
    Box::new(async move {
        let mut share = caller.data_mut().abi.wapc.reply_share.take();
        hold(&mut caller, &mut share, (ptr, len))?;
        caller.data_mut().abi.wapc.reply_share = share;
        // A reply that replaces another reuses its memory, whose pages are resident.
        let before = caller.data_mut().abi.wapc.reply.take().unwrap_or_default();
        let reply = memory::read_in_pieces(&mut caller, ptr, len, before).await?;
        caller.data_mut().abi.wapc.reply = Some(reply);
        Ok(())
    })
}

/// Counts what is about to be copied of the guest's memory, if it is there.
fn hold(caller: &mut Caller<'_, State>, share: &mut Option<HostShare>, (ptr, len): (i32, i32)) -> wasmtime::Result<()> {
    if in_memory(caller, ptr, len) { caller.data_mut().hold_on_host(share, memory::unsigned(len)) } else { Ok(()) }
}

/// Whether the range is in the guest's memory. If not, the pointer is wrong, and the reply is not too large.
fn in_memory(caller: &Caller<'_, State>, ptr: i32, len: i32) -> bool {
    let size = caller.data().memory.map_or(0, |memory| memory.data_size(caller));
    memory::unsigned(ptr).checked_add(memory::unsigned(len)).is_some_and(|end| end <= size)
}

fn guest_error(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let text = memory::read(&mut caller, ptr, len, ERROR_BYTES)?;
    caller.data_mut().abi.wapc.guest_error = Some(text);
    Ok(())
}

fn console_log(mut caller: Caller<'_, State>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let text = memory::read(&mut caller, ptr, len, MAX_LINE_BYTES)?;
    caller.data_mut().print(Stream::Console, &text);
    Ok(())
}

/// Suspends the guest until the driver has answered. Returns 1 for a reply, 0 for an error; the guest then fetches it.
async fn host_call(mut caller: Caller<'_, State>, target: Target) -> wasmtime::Result<i32> {
    let of_none = |reply| Answered { reply: Err(reply), share: None };
    // What was answered before is nothing that is kept beside.
    (caller.data_mut().abi.wapc.host_reply, caller.data_mut().abi.wapc.host_share) = (None, None);
    let mut share = None;
    let Answered { reply, share } = match request(&mut caller, target, &mut share).await? {
        Ok(request) => match &caller.data().call {
            Some(call) => {
                let call = call.clone();
                let answered =
                    asked::ask(&mut caller.as_context_mut(), &call, HostRequest::Wapc(request), share).await?;
                // Only here: a guest that is refused at once is still in the slice in which it asked.
                resting::begin_slice(&mut caller);
                answered
            }
            None => of_none(Bytes::from_static(b"the host can't be called while the guest starts")),
        },
        Err(refused) => of_none(refused.into()),
    };
    let allowed = caller.data().function.limits.payload_bytes;
    let reply = match reply {
        Ok(bytes) if !Limits::fits(bytes.len(), allowed) => Err(too_large("reply", bytes.len(), allowed).into()),
        Ok(bytes) => Ok(bytes),
        Err(mut text) => {
            text.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
            Err(text)
        }
    };
    let code = i32::from(reply.is_ok());
    let wapc = &mut caller.data_mut().abi.wapc;
    (wapc.host_reply, wapc.host_share) = (Some(reply), share);
    Ok(code)
}

/// Reads the guest's request; the inner error is for the guest, the outer one stops it.
async fn request(
    caller: &mut Caller<'_, State>,
    target: Target,
    share: &mut Option<HostShare>,
) -> wasmtime::Result<Result<HostCall, String>> {
    let (binding, binding_len, namespace, namespace_len, operation, operation_len, payload, payload_len) = target;
    let allowed = caller.data().function.limits.reply_bytes;
    let asked = memory::unsigned(payload_len);
    if !Limits::fits(asked, allowed) && in_memory(caller, payload, payload_len) {
        return Ok(Err(too_large("payload", asked, allowed)));
    }
    for (ptr, len) in [(binding, binding_len), (namespace, namespace_len), (operation, operation_len)] {
        let asked = memory::unsigned(len);
        // A name that is cut would mean another target.
        if asked > MAX_NAME_BYTES && in_memory(caller, ptr, len) {
            return Ok(Err(too_large("name", asked, MAX_NAME_BYTES as u64)));
        }
    }
    let binding = memory::read_name(caller, binding, binding_len, MAX_NAME_BYTES)?;
    let namespace = memory::read_name(caller, namespace, namespace_len, MAX_NAME_BYTES)?;
    let operation = memory::read_name(caller, operation, operation_len, MAX_NAME_BYTES)?;
    let name = [&binding[..], &namespace, &operation];
    if !caller.data().function.host.allow(name) {
        let name = name.map(String::from_utf8_lossy).join("/");
        return Ok(Err(format!(
            "{name} is not granted: the deploy names in `host` what the function may ask of its host"
        )));
    }
    hold(caller, share, (payload, payload_len))?;
    let payload = memory::read_in_pieces(caller, payload, payload_len, Vec::new()).await?;
    Ok(Ok(HostCall { binding, namespace, operation, payload }))
}

fn too_large(what: &str, len: usize, allowed: u64) -> String {
    format!("the {what} of this host call has {len} bytes, more than the {allowed} allowed")
}

fn host_response_len(caller: Caller<'_, State>) -> i32 {
    pending(&caller, Result::as_ref)
}

fn host_error_len(caller: Caller<'_, State>) -> i32 {
    pending(&caller, |reply| reply.as_ref().map_or_else(Ok, Err))
}

fn host_response(caller: Caller<'_, State>, (ptr,): (i32,)) -> ImportFuture<'_> {
    fetch(caller, ptr, Result::as_ref)
}

fn host_error(caller: Caller<'_, State>, (ptr,): (i32,)) -> ImportFuture<'_> {
    fetch(caller, ptr, |reply| reply.as_ref().map_or_else(Ok, Err))
}

/// Picks the side of the last host call's outcome that is asked for.
type Side = fn(&HostReply) -> Result<&Bytes, &Bytes>;

fn pending(caller: &Caller<'_, State>, side: Side) -> i32 {
    let reply = caller.data().abi.wapc.host_reply.as_ref();
    reply.and_then(|reply| side(reply).ok()).map_or(0, |bytes| length(bytes.len()))
}

fn fetch(mut caller: Caller<'_, State>, ptr: i32, side: Side) -> ImportFuture<'_> {
    // Taken out for the copy and put back: a guest may fetch twice.
    let Some(reply) = caller.data_mut().abi.wapc.host_reply.take() else { return done(Ok(())) };
    let bytes = side(&reply).map_or(&[][..], |bytes| bytes);
    if bytes.len() <= PIECE_BYTES {
        let written = memory::write(&mut caller, ptr, bytes);
        caller.data_mut().abi.wapc.host_reply = Some(reply);
        return done(written);
    }
    Box::new(async move {
        memory::write_in_pieces(&mut caller, ptr, side(&reply).map_or(&[][..], |bytes| bytes)).await?;
        caller.data_mut().abi.wapc.host_reply = Some(reply);
        Ok(())
    })
}
