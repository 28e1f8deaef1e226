//! Plain modules as an ABI.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::smallvec;
use wasmtime::{Extern, Func, Instance, Linker, Store, Val};

use super::arguments::{Numbers, numbers};
use super::imports;
use crate::abi::contract::{Abi, ModuleAbi, Open};
use crate::abi::exports::{Exports, Functions, Surface};
use crate::abi::rehearsal::Rehearsal;
use crate::abi::slots::State;
use crate::abi::typed::arguments;
use crate::abi::wasi;
use crate::base::error::{CallError, CompileError};
use crate::base::printed::Printed;
use crate::base::request::{Reply, Request, Takes};
use crate::store::context::FunctionContext;
use crate::store::failure::call_error;
use crate::value::numbers::result;

/// What modules of other ABIs export beside what they are called by: one that has these alone lacks that.
const OTHERS: [&str; 1] = ["wapc_init"];

/// A module whose exports are called as they are.
pub(crate) enum Plain {}

impl Abi for Plain {
    const NAME: &'static str = "exports";
    const REUSABLE: bool = true;
    const RUNS: bool = false;
    const TAKES: Takes = Takes::Values;

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        // Taken out while it runs: a count of those who use it would be one line of memory that all cores write.
        let functions = state.abi.plain.functions.take();
        let (Some(call), Some(instance), Some(functions)) = (state.call.clone(), state.instance, functions) else {
            return Err(CallError::Internal { message: "the instance is not one of a plain module".into() });
        };
        let outcome = call_export(store, &call.request, instance, &functions).await;
        store.data_mut().abi.plain.functions = Some(functions);
        outcome
    }
}

impl ModuleAbi for Plain {
    const START_FUNCTIONS: &'static [&'static str] = &["_initialize"];
    const OPEN: Option<Open> = Some(imports::OPEN);

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        let own = |name: &&str| !Self::START_FUNCTIONS.contains(name) && !OTHERS.contains(name);
        Ok(surface.functions.iter().any(own))
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        wasi::imports::link(linker)
    }

    fn rehearse(linker: &mut Linker<Rehearsal>, store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
        wasi::rehearsal::link(linker, store)
    }

    fn print_kept(printed: &Printed, function: &Arc<FunctionContext>) {
        wasi::context::print(printed, function);
    }

    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError> {
        let start = Exports::starts(module, Self::START_FUNCTIONS)?;
        let exports = Exports { start, ..Exports::all(module, Self::START_FUNCTIONS, |_ty| true) };
        if exports.functions.is_empty() {
            return Err(Surface::of(module).unknown());
        }
        Ok(exports)
    }

    fn bind(store: &mut Store<State>, _entry: Option<Func>, exports: &Exports) -> wasmtime::Result<()> {
        store.data_mut().abi.plain.functions = Some(Arc::clone(&exports.functions));
        Ok(())
    }
}

async fn call_export(
    store: &mut Store<State>,
    request: &Request,
    instance: Instance,
    functions: &Functions,
) -> Result<Reply, CallError> {
    let Some((name, export)) = functions.find(&request.operation) else {
        return Err(CallError::no_export(&String::from_utf8_lossy(&request.operation), functions.names()));
    };
    let arguments = arguments::read(&request.payload).await?;
    let is_json = matches!(arguments, Cow::Owned(_));
    let params = numbers(arguments::of(arguments.as_ref(), export.ty.params().len(), name)?, export.ty.params())?;
    let function = instance.get_module_export(&mut *store, &export.index).and_then(Extern::into_func);
    let Some(function) = function else {
        return Err(CallError::Internal { message: "the instance lacks an export of its module".into() });
    };
    let mut results: Numbers = smallvec![Val::I32(0); export.ty.results().len()];
    if let Err(error) = function.call_async(&mut *store, &params, &mut results).await {
        return Err(call_error(store, &error));
    }
    arguments::reply(result(&results), is_json, store.data().function.limits.reply_bytes).await
}
