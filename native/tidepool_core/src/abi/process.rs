//! How a guest runs that is a process, whatever its ABI.

use wasmtime::{Extern, Store, Val, ValType};

use super::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::base::trap::TrapKind;
use crate::store::failure::{call_error, exit_code};

/// The export that a program's first process runs, unless another is named.
pub(crate) const ENTRY: &str = "_start";

/// Runs the process that the guest is, to its end.
///
/// # Errors
/// [`CallError::Guest`] when it exits with another code than 0, anything else when it was stopped.
pub(crate) async fn run(store: &mut Store<State>, params: &[Val]) -> Result<Reply, CallError> {
    let Some(guest) = store.data().abi.guest.clone() else {
        return Err(CallError::Internal { message: "the guest is no process".into() });
    };
    let Err(error) = run_entry(store, &guest.process.entry, params).await else { return Ok(Reply::Bytes(Vec::new())) };
    match exit_code(&error) {
        Some(0) => Ok(Reply::Bytes(Vec::new())),
        Some(code) => {
            let lines = store.data().tail.as_ref().map_or_else(Vec::new, |tail| tail.lines());
            let message = lines.last().cloned().unwrap_or_else(|| format!("the process exited with code {code}"));
            Err(CallError::Guest { message, exit_code: Some(code) })
        }
        None => Err(call_error(store, &error)),
    }
}

/// Runs the entry, whose result nobody gets.
async fn run_entry(store: &mut Store<State>, name: &str, params: &[Val]) -> wasmtime::Result<()> {
    let function = store.data().instance.and_then(|instance| instance.get_export(&mut *store, name));
    let Some(function) = function.and_then(Extern::into_func) else {
        return Err(unfit(store, format!("the module exports no function `{name}` for a process to run")));
    };
    let ty = function.ty(&*store);
    let given: Vec<ValType> = params.iter().filter_map(kind).collect();
    if !ty.params().map(|it| it.to_string()).eq(given.iter().map(ToString::to_string)) {
        let takes = |types: Vec<String>| types.join(", ");
        let message = format!(
            "the export `{name}` takes ({}), and was given ({})",
            takes(ty.params().map(|it| it.to_string()).collect()),
            takes(given.iter().map(ToString::to_string).collect())
        );
        return Err(unfit(store, message));
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    function.call_async(store, params, &mut results).await
}

fn kind(value: &Val) -> Option<ValType> {
    match value {
        Val::I32(_) => Some(ValType::I32),
        Val::I64(_) => Some(ValType::I64),
        Val::V128(_) => Some(ValType::V128),
        _ => None,
    }
}

fn unfit(store: &mut Store<State>, message: String) -> wasmtime::Error {
    let text = message.clone();
    let kind = TrapKind::Other;
    store.data_mut().failure = Some(CallError::Trap { kind, message, frames: Vec::new(), console: Vec::new() });
    wasmtime::Error::msg(text)
}
