//! Imports of a component that the host's handlers answer.

use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Val};

use super::convert::{given, shown};
use crate::abi::memory::begin_slice_of;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ImportCall};
use crate::base::trap::TrapKind;
use crate::value::Value;

/// First part of the targets of such imports.
const BINDING: &str = "wit";
/// What the names of interfaces begin with that are the host's own, or nobody's.
const WASI: &str = "wasi:";

/// Defines what `component` imports and `linker` lacks: functions by the host's handlers, all else by what traps.
pub(super) fn define(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let (engine, ty) = (component.engine(), component.component_type());
    for (name, import) in ty.imports(engine) {
        if name.starts_with(WASI) {
            continue;
        }
        match import.ty {
            ComponentItem::ComponentFunc(_) => function(&mut linker.root(), "", name)?,
            ComponentItem::ComponentInstance(instance) => {
                let exports = instance.exports(engine);
                let functions = exports.filter(|(_name, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)));
                let mut within = linker.instance(name)?;
                for (function_name, _export) in functions.filter(|(name, _export)| !name.starts_with('[')) {
                    function(&mut within, name, function_name)?;
                }
            }
            _ => {}
        }
    }
    linker.define_unknown_imports_as_traps(component)
}

fn function(linker: &mut LinkerInstance<'_, State>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let target = (interface.to_owned(), name.to_owned());
    linker.func_new_async(name, move |store, ty, params, results| {
        let target = target.clone();
        Box::new(async move { answer(store, target, &ty, params, results).await })
    })
}

/// Suspends the guest until the driver has answered.
async fn answer(
    mut store: StoreContextMut<'_, State>,
    (namespace, operation): (String, String),
    ty: &ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let target = [BINDING, &namespace, &operation].join("/");
    let Some(call) = store.data().call.clone() else {
        return Err(trap(&mut store, format!("{target} can't be called while the guest starts")));
    };
    // A grant has the package of an interface between its slashes, and the rest behind them.
    let (package, rest) = match namespace.split_once('/') {
        Some((package, interface)) => (package, format!("{interface}/{operation}")),
        None => (&*namespace, operation.clone()),
    };
    if !store.data().function.host.allow([BINDING, package, &rest].map(str::as_bytes)) {
        let text = format!("{target} is not granted: the deploy names in `host` what the function may ask of its host");
        return Err(trap(&mut store, text));
    }
    let arguments = ty.params().zip(params).map(|((_name, ty), param)| shown(param, &ty)).collect();
    let asked = ImportCall { binding: BINDING, namespace, operation, arguments };
    let reply = call.channel.ask(HostRequest::Import(asked)).await;
    begin_slice_of(&mut store);
    let value = match reply {
        Ok(empty) if empty.is_empty() => call.channel.take_value().unwrap_or(Value::Null),
        Ok(fault) => {
            let text = format!("the answer of {target} does not fit: {}", String::from_utf8_lossy(&fault));
            return Err(trap(&mut store, text));
        }
        Err(text) => return Err(trap(&mut store, String::from_utf8_lossy(&text).into_owned())),
    };
    if let (Some(ty), Some(result)) = (ty.results().next(), results.first_mut()) {
        match given(&value, &ty) {
            Ok(value) => *result = value,
            Err(error) => return Err(trap(&mut store, format!("the answer of {target} does not fit: {error}"))),
        }
    }
    Ok(())
}

fn trap(store: &mut StoreContextMut<'_, State>, message: String) -> wasmtime::Error {
    let text = message.clone();
    let (kind, frames, console) = (TrapKind::Other, Vec::new(), Vec::new());
    store.data_mut().failure = Some(CallError::Trap { kind, message, frames, console });
    wasmtime::Error::msg(text)
}
