//! Imports of a plain module that the host's handlers answer.

use wasmtime::{Caller, FuncType, Linker, Val, ValType};

use super::arguments::numbers;
use crate::abi::memory::{begin_slice, fail};
use crate::abi::slots::State;
use crate::abi::wasi::imports::is_wasi;
use crate::base::error::CallError;
use crate::base::request::{HostRequest, ImportCall};
use crate::base::trap::TrapKind;
use crate::value::Value;
use crate::value::numbers::{is_number, value};

/// First part of the targets of such imports.
const BINDING: &str = "import";

/// Defines an import of this type; `false` when it has parameters or results that are no numbers, or is WASI's by its name: what
/// there is of that is defined already.
pub(super) fn define(linker: &mut Linker<State>, module: &str, name: &str, ty: &FuncType) -> wasmtime::Result<bool> {
    if is_wasi(module) || !ty.params().chain(ty.results()).all(|ty| is_number(&ty)) {
        return Ok(false);
    }
    let results: Vec<ValType> = ty.results().collect();
    let target = (module.to_owned(), name.to_owned());
    linker.func_new_async(module, name, ty.clone(), move |caller, params, returned| {
        let asked = ImportCall {
            binding: BINDING,
            namespace: target.0.clone(),
            operation: target.1.clone(),
            arguments: params.iter().map(value).collect(),
        };
        let results = results.clone();
        Box::new(async move { answer(caller, asked, &results, returned).await })
    })?;
    Ok(true)
}

/// Suspends the guest until the driver has answered. There is no way to tell such a guest of an error: it traps.
async fn answer(
    mut caller: Caller<'_, State>,
    asked: ImportCall,
    types: &[ValType],
    returned: &mut [Val],
) -> wasmtime::Result<()> {
    let target = [BINDING, &asked.namespace, &asked.operation].join("/");
    let Some(call) = caller.data().call.clone() else {
        return Err(trap(&mut caller, format!("{target} can't be called while the guest starts")));
    };
    if !caller.data().function.host.allow([BINDING, &asked.namespace, &asked.operation].map(str::as_bytes)) {
        let text = format!("{target} is not granted: the deploy names in `host` what the function may ask of its host");
        return Err(trap(&mut caller, text));
    }
    let reply = call.channel.ask(HostRequest::Import(asked)).await;
    begin_slice(&mut caller);
    let value = match reply {
        Ok(empty) if empty.is_empty() => call.channel.take_value(),
        Ok(fault) => {
            let text = format!("the answer of {target} does not fit: {}", String::from_utf8_lossy(&fault));
            return Err(trap(&mut caller, text));
        }
        Err(text) => return Err(trap(&mut caller, String::from_utf8_lossy(&text).into_owned())),
    };
    let values = match (value, types.len()) {
        (Some(Value::List(values) | Value::Tuple(values)), several) if several != 1 && values.len() == several => {
            values
        }
        (Some(value), 1) => vec![value],
        (_, 0) => Vec::new(),
        (_, several) => {
            return Err(trap(&mut caller, format!("{target} has to be answered with a list of {several} numbers")));
        }
    };
    match numbers(&values, types) {
        Ok(numbers) => {
            returned.iter_mut().zip(numbers).for_each(|(returned, number)| *returned = number);
            Ok(())
        }
        Err(error) => Err(trap(&mut caller, format!("the answer of {target} does not fit: {error}"))),
    }
}

fn trap(caller: &mut Caller<'_, State>, message: String) -> wasmtime::Error {
    fail(caller, CallError::Trap { kind: TrapKind::Other, message, frames: Vec::new(), console: Vec::new() })
}
