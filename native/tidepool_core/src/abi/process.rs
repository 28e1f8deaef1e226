//! How a guest runs that is a process, whatever its ABI.

use wasmtime::{Extern, Store, Val, ValType};

use super::component::command;
use super::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::base::trap::TrapKind;
use crate::store::failure::{call_error, ended};
use crate::store::frames::Stack;
use crate::store::leaving::enter;

/// What a process has come to.
pub(crate) enum Ran {
    Ended(Reply),
    /// It has left its stack while it waited.
    Left,
}

/// Runs the process that the guest is, until it ends, or leaves its stack.
///
/// # Errors
/// [`CallError::Guest`] when it exits with another code than 0, anything else when it was stopped.
pub(crate) async fn run(store: &mut Store<State>, params: &[Val]) -> Result<Ran, CallError> {
    let Some(guest) = store.data().abi.guest.clone() else {
        return Err(CallError::Internal { message: "the guest is no process".into() });
    };
    let returned = if store.data().instance.is_some() {
        run_entry(store, &guest.process.entry, params).await.map(Ok)
    } else {
        command::run(store).await
    };
    ran(store, returned)
}

/// The same for one that has left this stack.
///
/// # Errors
/// As of [`run`].
pub(crate) async fn go_on(store: &mut Store<State>, stack: Stack) -> Result<Ran, CallError> {
    let returned = enter_stack(store, stack).await.map(Ok);
    ran(store, returned)
}

async fn enter_stack(store: &mut Store<State>, stack: Stack) -> wasmtime::Result<()> {
    let second = enter(&mut *store, stack)?;
    let mut results = vec![Val::I32(0); second.ty(&*store).results().len()];
    second.call_async(store, &[], &mut results).await
}

fn ran(store: &mut Store<State>, returned: wasmtime::Result<Result<(), ()>>) -> Result<Ran, CallError> {
    if matches!(returned, Ok(Ok(()))) && store.data().frames.as_ref().is_some_and(|frames| frames.leaves()) {
        return Ok(Ran::Left);
    }
    match ended(returned) {
        Ok(0) => Ok(Ran::Ended(Reply::Bytes(Vec::new()))),
        Ok(code) => {
            let lines = store.data().tail.as_ref().map_or_else(Vec::new, |tail| tail.lines());
            let message = lines.last().cloned().unwrap_or_else(|| format!("the process exited with code {code}"));
            Err(CallError::Guest { message, exit_code: Some(code) })
        }
        Err(error) => Err(call_error(store, &error)),
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
