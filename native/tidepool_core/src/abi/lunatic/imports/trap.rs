//! `lunatic::trap`: traps and exits that a guest catches.

use wasmtime::{Caller, Extern, Linker, TypedFunc};

use crate::abi::lunatic::support;
use crate::abi::lunatic::waits::CATCH;
use crate::abi::memory::fail;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::recording::player::Unlike;
use crate::store::failure::is_full;
use crate::store::leaving::entered;

/// The export that calls what may trap.
const CALLS: &str = "_lunatic_catch_trap";
/// What `catch` returns for a trap.
const TRAPPED: i32 = 0;
/// How deep they nest. Each has a stack of its own beside the guest's, and where a guest is ended in one, those that it is in are
/// unwound one after another, each with all frames of those around it.
const MAX_DEPTH: u32 = 8;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap_async(CATCH.module, CATCH.name, |caller, (function, argument): (i32, i32)| {
            Box::new(catch(caller, function, argument))
        })
        .map(drop)
}

/// What calls what may trap: the export, or where it was in that when the guest left its stack.
enum Called {
    First(TypedFunc<(i32, i32), i32>),
    Second(TypedFunc<(), i32>),
}

async fn catch(mut caller: Caller<'_, State>, function: i32, argument: i32) -> wasmtime::Result<i32> {
    let called = match entered::<_, i32>(&mut caller)? {
        Some(second) => Called::Second(second),
        None => {
            let export = caller.get_export(CALLS).and_then(Extern::into_func);
            let typed = export.and_then(|export| export.typed::<(i32, i32), i32>(&caller).ok());
            let Some(typed) = typed else {
                let message = format!("the module exports no function `{CALLS}` (i32, i32) -> i32");
                return Err(support::trap(&mut caller, message));
            };
            Called::First(typed)
        }
    };
    if !caller.data_mut().abi.lunatic.data().begin_catch(MAX_DEPTH) {
        return Err(support::trap(
            &mut caller,
            format!("the guest catches traps within {MAX_DEPTH} others: no deeper"),
        ));
    }
    let spare = caller.data_mut().abi.lunatic.data().spare_stack.take();
    let stack = match spare.map_or_else(|| caller.data().function.further_stack(), Ok) {
        Ok(stack) => stack,
        Err(error) => {
            caller.data_mut().abi.lunatic.data().end_catch();
            return Err(fail(&mut caller, error));
        }
    };
    let outcome = match called {
        Called::First(first) => first.call_async(&mut caller, (function, argument)).await,
        Called::Second(second) => second.call_async(&mut caller, ()).await,
    };
    let data = caller.data_mut().abi.lunatic.data();
    data.end_catch();
    data.spare_stack = Some(stack);
    match outcome {
        Ok(result) => Ok(result),
        Err(error) => {
            let state = caller.data_mut();
            // Limits are the host's, and so is what it has no room for, and where a replay parts from what was recorded: neither is
            // for the guest to catch.
            let is_own = matches!(&state.failure, Some(CallError::Trap { .. }) | None);
            if !is_own || is_full(&error) || error.is::<Unlike>() {
                return Err(error);
            }
            (state.failure, state.meter.denied) = (None, None);
            Ok(TRAPPED)
        }
    }
}
