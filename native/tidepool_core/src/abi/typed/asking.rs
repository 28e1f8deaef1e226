//! Calls of imports that the host's handlers answer with a value.

use std::sync::Arc;

use wasmtime::StoreContextMut;

use crate::abi::outgoing::asked::{self, Answered};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ImportCall};
use crate::base::trap::TrapKind;
use crate::store::host_channel::GuestCall;
use crate::store::host_share::HostShare;
use crate::store::resting::begin_slice;
use crate::value::Value;

/// The text by which a target is told and granted.
pub(in crate::abi) fn target(asked: &ImportCall) -> String {
    [asked.binding, &asked.namespace, &asked.operation].join("/")
}

/// What the host has said, and what that is counted as until it is dropped.
pub(in crate::abi) type Told = (Arc<Value>, Option<HostShare>);

/// Suspends the guest until the driver has answered, if that may be asked. There is no way to tell such a guest of an error: it traps.
/// Something of what it asks with may be counted in `share` already.
pub(in crate::abi) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    asked: ImportCall,
    is_granted: bool,
    share: Option<HostShare>,
) -> wasmtime::Result<Told> {
    let target = target(&asked);
    let call = may_ask(store, &target, is_granted)?;
    let Answered { reply, share } = asked::ask(store, &call, HostRequest::Import(asked), share).await?;
    begin_slice(&mut *store);
    match reply {
        Ok(empty) if empty.is_empty() => {
            Ok((call.channel.take_value().unwrap_or_else(|| Arc::new(Value::Null)), share))
        }
        Ok(fault) => Err(unfit(store, &target, &String::from_utf8_lossy(&fault))),
        Err(text) => Err(trap(store, String::from_utf8_lossy(&text).into_owned())),
    }
}

/// The call by whose driver the guest may ask.
///
/// # Errors
/// Stops a guest that serves none, or asks for what its deploy does not grant.
pub(in crate::abi) fn may_ask(
    store: &mut StoreContextMut<'_, State>,
    target: &str,
    is_granted: bool,
) -> wasmtime::Result<GuestCall> {
    let Some(call) = store.data().call.clone() else {
        return Err(trap(store, format!("{target} can't be called while the guest starts")));
    };
    if !is_granted {
        let text = format!("{target} is not granted: the deploy names in `host` what the function may ask of its host");
        return Err(trap(store, text));
    }
    Ok(call)
}

/// Stops a guest whose import was answered with another value than it returns.
pub(in crate::abi) fn unfit(
    store: &mut StoreContextMut<'_, State>,
    target: &str,
    why: &dyn std::fmt::Display,
) -> wasmtime::Error {
    trap(store, format!("the answer of {target} does not fit: {why}"))
}

/// Stops a guest with this text.
pub(in crate::abi) fn trap(store: &mut StoreContextMut<'_, State>, message: String) -> wasmtime::Error {
    let text = message.clone();
    let (kind, frames, console) = (TrapKind::Other, Vec::new(), Vec::new());
    store.data_mut().failure = Some(CallError::Trap { kind, message, frames, console });
    wasmtime::Error::msg(text)
}
