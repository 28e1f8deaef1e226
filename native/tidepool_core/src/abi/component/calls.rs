//! Typed components as an ABI.

use std::borrow::Cow;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, Func, Instance, Linker, Val};

use super::convert::{given, shown};
use super::{bytes, imports, wasi};
use crate::abi::contract::{Abi, ComponentAbi};
use crate::abi::interface::{Export, Interface};
use crate::abi::slots::State;
use crate::abi::typed::arguments;
use crate::base::error::CallError;
use crate::base::request::{Reply, Request};
use crate::store::failure::call_error;
use crate::value::{MAX_COUNT, Value};

/// Bytes of values that may be lifted at once: [`MAX_COUNT`] of them.
const FUEL: usize = MAX_COUNT * size_of::<Val>();

/// A component whose exports are called with values.
pub(crate) enum Typed {}

impl Abi for Typed {
    const NAME: &'static str = "typed";
    const REUSABLE: bool = true;
    const RUNS: bool = false;
    const TYPED: bool = true;

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        // Taken out while it runs: a count of those who use it would be one line of memory that all cores write.
        let (Some(call), Some((instance, interface))) = (state.call.clone(), state.abi.component.guest.take()) else {
            return Err(CallError::Internal { message: "the instance is not one of a component".into() });
        };
        let outcome = call_export(store, &call.request, &instance, &interface).await;
        store.data_mut().abi.component.guest = Some((instance, interface));
        outcome
    }
}

impl ComponentAbi for Typed {
    fn detect(interface: &Interface) -> bool {
        interface.is_callable()
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        wasi::link(linker)
    }

    fn extend(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
        imports::define(linker, component)
    }

    fn bind(state: &mut State, instance: Instance, interface: &Arc<Interface>) {
        state.abi.component.guest = Some((instance, Arc::clone(interface)));
    }
}

async fn call_export(
    store: &mut Store<State>,
    request: &Request,
    instance: &Instance,
    interface: &Interface,
) -> Result<Reply, CallError> {
    let name = || String::from_utf8_lossy(&request.operation).into_owned();
    let Some(export) = interface.find(&request.operation) else {
        return Err(CallError::NoExport { name: name(), exports: interface.names() });
    };
    if let Some(why) = export.uncallable {
        let message = format!("`{}` {why}", export.name);
        return Err(CallError::Arguments { path: String::new(), message });
    }
    let arguments = arguments::read(&request.payload).await?;
    let is_json = matches!(arguments, Cow::Owned(_));
    // The type of a function can be exported as well, and is listed like one.
    let Some(function) = instance.get_func(&mut *store, export.index) else {
        return Err(CallError::NoExport { name: name(), exports: interface.names() });
    };
    let arguments = ordered(arguments.as_ref(), export)?;
    let allowed = store.data().function.limits.reply_bytes;
    let result = match quick(store, &function, export, &arguments, allowed).await {
        Some(result) => result,
        None => dynamic(store, &function, export, &arguments).await?,
    };
    let result = result.map_err(|error| call_error(store, &error))?;
    arguments::reply(succeeded(result, export, is_json)?, is_json, allowed).await
}

/// Calls an export of bytes and texts; `None` when it is none.
async fn quick(
    store: &mut Store<State>,
    function: &Func,
    export: &Export,
    arguments: &[&Value],
    allowed: u64,
) -> Option<wasmtime::Result<Value>> {
    let shape = export.bytes.as_ref()?;
    // What may be lifted: one result, and what goes with it.
    store.set_hostcall_fuel(usize::try_from(allowed).unwrap_or(usize::MAX).saturating_add(FUEL));
    bytes::call(shape, store, function, arguments).await
}

/// Calls an export with a value for each thing that its arguments have.
async fn dynamic(
    store: &mut Store<State>,
    function: &Func,
    export: &Export,
    arguments: &[&Value],
) -> Result<wasmtime::Result<Value>, CallError> {
    if arguments.iter().map(|value| value.count()).sum::<usize>() > MAX_COUNT {
        let message = format!(
            "the arguments have more than {MAX_COUNT} values, each byte of a list counted; an export that takes \
             `list<u8>` and `string` alone has no such limit"
        );
        return Err(CallError::Arguments { path: String::new(), message });
    }
    let params = arguments
        .iter()
        .zip(&export.params)
        .map(|(value, (name, ty))| given(value, ty).map_err(|error| error.within(name)));
    let params: Vec<Val> = params.collect::<Result<_, _>>()?;
    let mut results = [Val::Bool(false)];
    let results = results.get_mut(..usize::from(export.result.is_some())).unwrap_or_default();
    store.set_hostcall_fuel(FUEL);
    if let Err(error) = function.call_async(&mut *store, &params, results).await {
        return Ok(Err(error));
    }
    Ok(Ok(match (results, &export.result) {
        ([result], Some(ty)) => shown(result, ty),
        _ => Value::Null,
    }))
}

/// The arguments of an export in the order of its parameters, from a list of them or by their names.
fn ordered<'a>(arguments: &'a Value, export: &Export) -> Result<Vec<&'a Value>, CallError> {
    match arguments {
        Value::Record(fields) => {
            arguments::by_name(fields, export.params.iter().map(|(name, _ty)| &**name), &export.name)
        }
        list => Ok(arguments::of(list, export.params.len(), &export.name)?.iter().collect()),
    }
}

/// The value of a result that is one; its error is the call's.
fn succeeded(result: Value, export: &Export, is_json: bool) -> Result<Value, CallError> {
    if !matches!(export.result, Some(wasmtime::component::Type::Result(_))) {
        return Ok(result);
    }
    match result {
        Value::Case(name, value) if &*name == "ok" => Ok(*value),
        Value::Case(_error, value) => Err(CallError::Failed { value, is_json }),
        Value::Name(name) if &*name == "ok" => Ok(Value::Null),
        _error => Err(CallError::Failed { value: Box::new(Value::Null), is_json }),
    }
}
