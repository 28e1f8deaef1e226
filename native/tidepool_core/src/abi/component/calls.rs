//! Typed components as an ABI.

use std::borrow::Cow;
use std::collections::HashMap;

use wasmtime::component::{Func, Instance, Val};
use wasmtime::{AsContextMut, Store, WasmBacktrace};

use super::bytes;
use super::convert::{Nothing, Pieces, Resources, TooMuch, has_more, val_bytes};
use super::resources::kept::MAX_HOSTED;
use super::resources::{Checking, Giving, drop_one, drop_released, take_lent};
use crate::abi::contract::{Abi, ComponentAbi};
use crate::abi::interface::{Export, Interface};
use crate::abi::slots::State;
use crate::abi::typed::arguments;
use crate::base::error::CallError;
use crate::base::limits::{ERROR_BYTES, Limit};
use crate::base::request::{Reply, Request, Takes};
use crate::slice::yielding::yielded;
use crate::store::failure::call_error;
use crate::store::host_share::HostShare;
use crate::value::{MAX_COUNT, Value};

/// Bytes of a result that is bytes or a text alone. What a guest lifts by imports meanwhile has the same bound, and lists there may be the
/// same ones again and again: it is no multiple of the guest's memory that holds it.
const MAX_BYTES: u64 = 64 << 20;

/// More values than these, arguments or within a result, are converted in slices of their own: one for each step of the way.
const SLICE_COUNT: usize = 4_096;

/// A longer text is handed on in a slice of its own.
const SLICE_BYTES: usize = 1 << 20;

/// What each value in the error of a result counts as beside its bytes, and each byte of a list, which is a number in JSON.
const NUMBER_BYTES: usize = 8;

/// The operation that drops a resource: its argument.
const DROP: &[u8] = b"[resource-drop]";

/// A component whose exports are called with values.
pub(crate) enum Typed {}

impl Abi for Typed {
    const NAME: &'static str = "typed";
    const REUSABLE: bool = true;
    const RUNS: bool = false;
    const TAKES: Takes = Takes::Values;

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        // Taken out while it runs: a count of those who use it would be one line of memory that all cores write.
        let (Some(call), Some((instance, interface))) = (state.call.clone(), state.abi.component.guest.take()) else {
            return Err(CallError::Internal { message: "the instance is not one of a component".into() });
        };
        let outcome = call_export(store, &call.request, &instance, &interface).await;
        store.data_mut().end_requests();
        store.data_mut().abi.component.guest = Some((instance, interface));
        outcome
    }
}

impl ComponentAbi for Typed {
    fn suits(_exports: &[&str]) -> bool {
        true
    }

    fn detect(interface: &Interface) -> bool {
        interface.is_callable()
    }
}

async fn call_export(
    store: &mut Store<State>,
    request: &Request,
    instance: &Instance,
    interface: &Interface,
) -> Result<Reply, CallError> {
    let is_kept = store.data().abi.component.held.is_some();
    let lose = |store: &Store<State>| {
        if let Some(tape) = &store.data().tape {
            tape.lose("its callers have resources of it, which they drop when they like");
        }
    };
    drop_released(store).await?;
    if request.operation.as_slice() == DROP {
        lose(store);
        let arguments = arguments::read(&request.payload).await?;
        drop_one(store, arguments::of(&arguments, 1, "[resource-drop]")?.first().unwrap_or(&Value::Null)).await?;
        return Ok(Reply::Value(Box::new(Value::Null)));
    }
    let name = String::from_utf8_lossy(&request.operation);
    let Some(export) = interface.find(&request.operation) else {
        let sharing = interface.sharing(&request.operation);
        return Err(match sharing.len() {
            0 => CallError::no_export(&name, interface.names()),
            _ => CallError::shared_name(&name, sharing),
        });
    };
    // Texts are copied as they are read, and for the engine. All of it is there until the guest returns.
    let mut share = HostShare::new(&store.data().function);
    if !share.raise_to(request.payload.size().saturating_mul(2)) {
        return Err(share.exceeded());
    }
    let arguments = arguments::read(&request.payload).await?;
    let is_json = matches!(arguments, Cow::Owned(_));
    if let Some(why) = export.uncallable.filter(|_why| !(export.resources && is_kept && !is_json)) {
        let message = format!("`{}` {why}", export.name);
        return Err(CallError::Arguments { path: String::new(), message });
    }
    if export.resources && is_kept {
        lose(store);
    }
    // The type of a function can be exported as well, and is listed like one.
    let Some(function) = instance.get_func(&mut *store, export.index) else {
        return Err(CallError::no_export(&name, interface.names()));
    };
    let arguments = ordered(arguments.as_ref(), export)?;
    let (allowed, mut result_share) = (store.data().function.limits.reply_bytes.min(MAX_BYTES), None);
    let result = match quick(store, &function, export, (&arguments, allowed), &mut result_share).await {
        Some(result) => result,
        None => dynamic(store, &function, (export, interface), &arguments, share).await?,
    };
    let result = result.map_err(|error| match is_too_large(&error) {
        true => {
            let lifting = store.data().abi.component.lifting;
            CallError::limit(Limit::Reply, lifting.most(allowed, export.bytes.is_some()))
        }
        false => call_error(store, &error),
    })?;
    arguments::reply(succeeded(result, export, is_json)?, is_json, allowed).await
}

/// Calls an export of bytes and texts; `None` when it is none.
async fn quick(
    store: &mut Store<State>,
    function: &Func,
    export: &Export,
    (arguments, allowed): (&[&Value], u64),
    share: &mut Option<HostShare>,
) -> Option<wasmtime::Result<Value>> {
    let shape = export.bytes.as_ref()?;
    // What may be lifted: one result, and what goes with it.
    let fuel = store.data().abi.component.lifting.fuel(allowed, true);
    store.set_hostcall_fuel(fuel);
    let result = bytes::call(shape, store, function, arguments, share).await;
    // What follows is a slice's as well.
    if matches!(&result, Some(Ok(Value::Text(text))) if text.len() > SLICE_BYTES) {
        yielded().await;
    }
    result
}

/// Calls an export with a value for each thing that its arguments have.
async fn dynamic(
    store: &mut Store<State>,
    function: &Func,
    (export, interface): (&Export, &Interface),
    arguments: &[&Value],
    mut share: HostShare,
) -> Result<wasmtime::Result<Value>, CallError> {
    let count = arguments.iter().map(|value| value.count()).sum::<usize>();
    if count > MAX_COUNT {
        let message = format!(
            "the arguments have more than {MAX_COUNT} values, each byte of a list counted; an export that takes \
             `list<u8>` and `string` alone has no such limit"
        );
        return Err(CallError::Arguments { path: String::new(), message });
    }
    // Many are read, told, passed, shown and written in a slice each.
    let are_many = count > SLICE_COUNT;
    if are_many {
        yielded().await;
    }
    let mut lent = HashMap::new();
    let params = if export.resources {
        if export.returns_resources {
            store.data().abi.component.held.as_ref().map_or(Ok(()), |held| held.room())?;
        }
        // Of a call whose arguments don't fit nothing is taken.
        let (slot, kinds) = (&store.data().abi.component, interface.kinds());
        let room = slot.hosted.as_ref().map_or(MAX_HOSTED, |hosted| hosted.room());
        let mut checking = Checking { held: slot.held.as_deref(), kinds, room, seen: HashMap::new(), count: 0 };
        params(export, arguments, &mut checking, &mut share).await?;
        let mut within = store.as_context_mut();
        let mut giving = Giving::new(&mut within, kinds);
        match params(export, arguments, &mut giving, &mut share).await {
            Ok(params) => {
                lent = giving.lent;
                params
            }
            // One was given to another guest, or ended, meanwhile.
            Err(error) => {
                giving.take_back();
                return Err(error);
            }
        }
    } else {
        params(export, arguments, &mut Nothing, &mut share).await?
    };
    if are_many {
        yielded().await;
    }
    let mut results = [Val::Bool(false)];
    let results = results.get_mut(..usize::from(export.result.is_some())).unwrap_or_default();
    let allowed = store.data().function.limits.reply_bytes;
    let fuel = store.data().abi.component.lifting.fuel(allowed, false);
    store.set_hostcall_fuel(fuel);
    if let Err(error) = function.call_async(&mut *store, &params, results).await {
        return Ok(Err(error));
    }
    drop(params);
    take_lent(store, lent);
    let ([result], Some(ty)) = (results, &export.result) else { return Ok(Ok(Value::Null)) };
    let are_many = are_many || has_more(result, &mut { SLICE_COUNT });
    if are_many {
        yielded().await;
    }
    // All of it is there already.
    if !share.raise_to(val_bytes(result)) {
        return Err(share.exceeded());
    }
    let mut within = store.as_context_mut();
    let mut giving = Giving::new(&mut within, interface.kinds());
    let mut pieces = Pieces::counted(&mut giving, &mut share);
    let (value, over, has_room) = (pieces.shown(result, ty).await, pieces.tally.over(), pieces.has_room());
    let value = match giving.fault {
        Some(fault) => Err(wasmtime::Error::msg(format!("the result of `{}`: {fault}", export.name))),
        None => Ok(value),
    };
    if over.is_some_and(|over| over != TooMuch::Room) {
        return Err(CallError::limit(Limit::Reply, allowed));
    }
    if !has_room {
        return Err(share.exceeded());
    }
    if are_many {
        *result = Val::Bool(false);
        yielded().await;
    }
    Ok(value)
}

/// Was it the guest's result that was more than may be lifted? What it asks the host with has a backtrace.
fn is_too_large(error: &wasmtime::Error) -> bool {
    !error.is::<WasmBacktrace>() && error.to_string().contains("fuel allocated for hostcalls has been exhausted")
}

/// The arguments of an export as it takes them, which are counted in a share.
async fn params(
    export: &Export,
    arguments: &[&Value],
    resources: &mut dyn Resources,
    share: &mut HostShare,
) -> Result<Vec<Val>, CallError> {
    let (mut pieces, mut params) = (Pieces::counted(resources, share), Vec::with_capacity(arguments.len()));
    let mut wrong = None;
    for (value, (name, ty)) in arguments.iter().zip(&export.params) {
        match pieces.given(value, ty).await {
            Ok(made) => params.push(made),
            Err(error) => {
                wrong = Some(error.within(name));
                break;
            }
        }
    }
    match wrong {
        Some(error) if pieces.tally.over() != Some(TooMuch::Room) => Err(error),
        _ if pieces.has_room() => Ok(params),
        _ => Err(share.exceeded()),
    }
}

/// The arguments of an export in the order of its parameters, from a list of them or by their names.
fn ordered<'a>(arguments: &'a Value, export: &Export) -> Result<Vec<&'a Value>, CallError> {
    match arguments {
        Value::Record(fields) => {
            let named: Vec<&str> = export.params.iter().map(|(name, _ty)| &**name).collect();
            arguments::by_name(fields, &export.places, &named, &export.name)
        }
        list => Ok(arguments::of(list, export.params.len(), &export.name)?.iter().collect()),
    }
}

/// The value of a result that is one; its error is the call's.
///
/// # Errors
/// That of [`failed`].
fn succeeded(result: Value, export: &Export, is_json: bool) -> Result<Value, CallError> {
    if !matches!(export.result, Some(wasmtime::component::Type::Result(_))) {
        return Ok(result);
    }
    match result {
        Value::Case(name, value) if &*name == "ok" => Ok(*value),
        Value::Case(_error, value) => Err(failed(value, is_json)),
        Value::Name(name) if &*name == "ok" => Ok(Value::Null),
        _error => Err(CallError::Failed { value: Box::new(Value::Null), is_json }),
    }
}

/// [`CallError::Failed`] with an error of a result, of which a text is cut; [`CallError::Limit`] when another is too large. The limit of
/// replies is not its, so that a guest can say why it has none.
fn failed(mut value: Box<Value>, is_json: bool) -> CallError {
    let written = |value: &Value| value.size().saturating_add(value.count().saturating_mul(NUMBER_BYTES));
    match &*value {
        Value::Text(text) if text.len() > ERROR_BYTES => {
            let begins = text.get(..text.floor_char_boundary(ERROR_BYTES)).unwrap_or_default();
            value = Box::new(Value::Text(format!("{begins}…").into()));
        }
        Value::Text(_) => {}
        other if written(other) > ERROR_BYTES => return CallError::limit(Limit::Reply, ERROR_BYTES as u64),
        _ => {}
    }
    CallError::Failed { value, is_json }
}
