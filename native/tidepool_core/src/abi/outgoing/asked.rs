//! What guests ask of their host: of the driver of their task, or where a call is replayed, of its recording.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;

use crate::abi::slots::State;
use crate::base::request::{HostReply, HostRequest};
use crate::recording::entry::{Answer, Asked};
use crate::store::host_channel::GuestCall;
use crate::store::host_share::HostShare;
use crate::value::Value;

/// What the host has said, and what that is counted as until it is dropped.
pub(in crate::abi) struct Answered {
    pub(in crate::abi) reply: HostReply,
    pub(in crate::abi) share: Option<HostShare>,
}

/// Suspends the guest until it is answered. What it asks with, and what it is answered, is counted as its function's on the host, by
/// `share` where something of it was counted before.
///
/// # Errors
/// Stops a guest for which there is no room, and one that is replayed and asks for what it did not ask for when it was recorded.
pub(in crate::abi) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    call: &GuestCall,
    request: HostRequest,
    mut share: Option<HostShare>,
) -> wasmtime::Result<Answered> {
    store.data_mut().hold_on_host(&mut share, request.size())?;
    let reply = replied(store, call, request).await?;
    let bytes = match &reply {
        Ok(bytes) | Err(bytes) => bytes.len(),
    };
    let value = if bytes == 0 { call.channel.value().map_or(0, |value| value.size()) } else { 0 };
    store.data_mut().hold_on_host(&mut share, bytes.max(value))?;
    Ok(Answered { reply, share })
}

async fn replied(
    store: &mut StoreContextMut<'_, State>,
    call: &GuestCall,
    request: HostRequest,
) -> wasmtime::Result<HostReply> {
    let Some(tape) = store.data().tape.clone() else { return Ok(call.channel.ask(request).await) };
    match tape.answered(&request) {
        Some(Ok(Answer::Bytes(reply))) => return Ok(reply),
        Some(Ok(Answer::Value(value))) => {
            call.channel.give(value);
            return Ok(Ok(Bytes::new()));
        }
        Some(Err(unlike)) => return Err(unlike.into()),
        None => {}
    }
    let (asked, is_valued) = (Asked::of(&request), matches!(request, HostRequest::Import(_)));
    let reply = call.channel.ask(request).await;
    let answer = match &reply {
        // An answer without a value is none.
        Ok(bytes) if is_valued && bytes.is_empty() => {
            let value = call.channel.value().unwrap_or_else(|| Arc::new(Value::Null));
            (!value.has_handle()).then_some(Answer::Value(value))
        }
        reply => Some(Answer::Bytes(reply.clone())),
    };
    tape.keep_answer(asked, answer);
    Ok(reply)
}
