//! `lunatic::trap`: traps and exits that a guest catches.

use wasmtime::{Caller, Extern, Linker};

use crate::abi::lunatic::support;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::store::failure::is_full;

const MODULE: &str = "lunatic::trap";
/// The export that calls what may trap.
const CATCH: &str = "_lunatic_catch_trap";
/// What `catch` returns for a trap.
const TRAPPED: i32 = 0;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap_async(MODULE, "catch", |caller, (function, argument): (i32, i32)| {
            Box::new(catch(caller, function, argument))
        })
        .map(drop)
}

async fn catch(mut caller: Caller<'_, State>, function: i32, argument: i32) -> wasmtime::Result<i32> {
    let export = caller.get_export(CATCH).and_then(Extern::into_func);
    let typed = export.and_then(|export| export.typed::<(i32, i32), i32>(&caller).ok());
    let Some(typed) = typed else {
        return Err(support::trap(&mut caller, format!("the module exports no function `{CATCH}` (i32, i32) -> i32")));
    };
    match typed.call_async(&mut caller, (function, argument)).await {
        Ok(result) => Ok(result),
        Err(error) => {
            let state = caller.data_mut();
            // Limits are the host's, and so is what it has no room for: neither is for the guest to catch.
            if !matches!(&state.failure, Some(CallError::Trap { .. }) | None) || is_full(&error) {
                return Err(error);
            }
            (state.failure, state.meter.denied) = (None, None);
            Ok(TRAPPED)
        }
    }
}
