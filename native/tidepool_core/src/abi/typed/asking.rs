//! Calls of imports that the host's handlers answer with a value.

use wasmtime::StoreContextMut;

use crate::abi::memory::begin_slice_of;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ImportCall};
use crate::base::trap::TrapKind;
use crate::value::Value;

/// The text by which a target is told and granted.
pub(in crate::abi) fn target(asked: &ImportCall) -> String {
    [asked.binding, &asked.namespace, &asked.operation].join("/")
}

/// Suspends the guest until the driver has answered, if that may be asked. There is no way to tell such a guest of an error: it traps.
pub(in crate::abi) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    asked: ImportCall,
    is_granted: bool,
) -> wasmtime::Result<Value> {
    let target = target(&asked);
    let Some(call) = store.data().call.clone() else {
        return Err(trap(store, format!("{target} can't be called while the guest starts")));
    };
    if !is_granted {
        let text = format!("{target} is not granted: the deploy names in `host` what the function may ask of its host");
        return Err(trap(store, text));
    }
    let reply = call.channel.ask(HostRequest::Import(asked)).await;
    begin_slice_of(store);
    match reply {
        Ok(empty) if empty.is_empty() => Ok(call.channel.take_value().unwrap_or(Value::Null)),
        Ok(fault) => Err(unfit(store, &target, &String::from_utf8_lossy(&fault))),
        Err(text) => Err(trap(store, String::from_utf8_lossy(&text).into_owned())),
    }
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
