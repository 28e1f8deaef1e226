//! Plug-ins of Extism as an ABI.

use std::sync::Arc;

use wasmtime::{AsContextMut, Extern, Func, FuncType, Instance, Linker, Module, Store, ValType};

use super::shared::{Kernel, MODULE, PLAN, Span};
use super::{env, http, kernel, user};
use crate::abi::contract::{Abi, ModuleAbi, Open};
use crate::abi::exports::{Exports, Functions, Surface};
use crate::abi::rehearsal::Rehearsal;
use crate::abi::slots::State;
use crate::abi::wasi;
use crate::base::error::{CallError, CompileError};
use crate::base::limits::{ERROR_BYTES, Limit, Limits};
use crate::base::printed::Printed;
use crate::base::request::{Reply, Request};
use crate::rewrite::inline::Plan;
use crate::store::context::FunctionContext;
use crate::store::failure::{call_error, exit_code};

/// Import module of functions that the application answers.
const USER: &str = "extism:host/user";
/// Exports that set a plug-in's language up, one of them: the first that there is, as Extism's runtime looks for them.
const INITIALISERS: [&str; 2] = ["__wasm_call_ctors", "_initialize"];
/// Haskell's, which the second of those goes before.
const HASKELL: &str = "hs_init";
/// A program's, after which an instance is of no more use.
const PROGRAM: &str = "_start";

/// A plug-in, whose exports are called with bytes.
pub(crate) enum Extism {}

impl Abi for Extism {
    const NAME: &'static str = "extism";
    const REUSABLE: bool = true;
    const RUNS: bool = false;

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        // Taken out while it runs, as those of plain modules are.
        let functions = state.abi.extism.functions.take();
        let (Some(call), Some(instance), Some(functions)) = (state.call.clone(), state.instance, functions) else {
            return Err(CallError::Internal { message: "the instance is not one of an Extism plug-in".into() });
        };
        let outcome = call_export(store, &call.request, instance, &functions).await;
        store.data_mut().abi.extism.functions = Some(functions);
        outcome
    }

    /// An instance that rests keeps nothing of its call's blocks.
    fn end(state: &mut State) {
        if let Some(kernel) = state.abi.extism.kernel.as_deref_mut() {
            kernel::forget(kernel);
        }
    }
}

impl ModuleAbi for Extism {
    const START_FUNCTIONS: &'static [&'static str] = &[INITIALISERS[0], INITIALISERS[1], HASKELL];
    const OPEN: Option<Open> = Some(user::OPEN);
    const INLINE: Option<&'static Plan> = Some(&PLAN);

    fn starts(exported: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
        if exported(HASKELL) {
            return [INITIALISERS[1], HASKELL].into_iter().filter(|name| exported(name)).collect();
        }
        INITIALISERS.into_iter().find(|name| exported(name)).into_iter().collect()
    }

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        Ok([MODULE, USER].iter().any(|module| surface.imports.contains(module)))
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        env::link(linker)?;
        http::link(linker)?;
        wasi::imports::link(linker)
    }

    fn rehearse(linker: &mut Linker<Rehearsal>, store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
        wasi::rehearsal::link(linker, store)
    }

    fn print_kept(printed: &Printed, function: &Arc<FunctionContext>) {
        wasi::context::print(printed, function);
    }

    fn exports(module: &Module) -> Result<Exports, CompileError> {
        let is = |name: &str, fits: fn(&FuncType) -> bool| {
            module.get_export(name).is_some_and(|export| export.func().is_some_and(fits))
        };
        // One of another type is no initialiser, and what would come after it is not looked at.
        let starts = Self::starts(&|name| module.get_export(name).is_some());
        let starts: Vec<&str> = starts.into_iter().filter(|name| *name == HASKELL || is(name, is_nullary)).collect();
        let exports = Exports::all(module, Self::START_FUNCTIONS, is_operation);
        let start = starts.iter().filter_map(|name| module.get_export_index(name)).collect();
        if exports.functions.is_empty() {
            return Err(Surface::of(module).unknown());
        }
        Ok(Exports { start, ..exports })
    }

    fn bind(store: &mut Store<State>, _entry: Option<Func>, exports: &Exports) -> wasmtime::Result<()> {
        let instance = store.data().instance;
        let kernel = match (instance, store.data_mut().abi.extism.kernel.take()) {
            // Its start functions have asked for blocks.
            (_, Some(kernel)) => Some(kernel),
            (Some(instance), None) => Kernel::of(|name| instance.get_export(&mut *store, name)).map(Box::new),
            (None, None) => None,
        };
        let slot = &mut store.data_mut().abi.extism;
        slot.kernel = kernel;
        slot.functions = Some(Arc::clone(&exports.functions));
        Ok(())
    }
}

fn is_nullary(ty: &FuncType) -> bool {
    ty.params().len() == 0 && ty.results().len() == 0
}

/// Can it be called by a host? It takes nothing, and returns whether it failed, if it returns anything.
fn is_operation(ty: &FuncType) -> bool {
    ty.params().len() == 0 && ty.results().len() <= 1 && ty.results().all(|ty| matches!(ty, ValType::I32))
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
    let function = instance.get_module_export(&mut *store, &export.index).and_then(Extern::into_func);
    let Some(function) = function else {
        return Err(CallError::Internal { message: "the instance lacks an export of its module".into() });
    };
    if let Err(error) = begin(store, request.payload.bytes()).await {
        return Err(call_error(store, &error));
    }
    store.data_mut().ended = name == PROGRAM;
    let code = match run(store, &function, export.ty.results().len() == 0).await {
        Ok(code) => code,
        Err(error) => match exit_code(&error) {
            Some(code) => {
                store.data_mut().ended = true;
                code
            }
            None => return Err(stopped(store, &error)),
        },
    };
    let exit_code = Some(code).filter(|code| store.data().ended && *code != 0);
    match outcome(store, code).await {
        Ok(Ok(output)) => Ok(Reply::Bytes(output)),
        Ok(Err(Ended::Failed(message))) => Err(CallError::Guest { message, exit_code }),
        Ok(Err(Ended::TooMuch(allowed))) => Err(CallError::limit(Limit::Reply, allowed)),
        Err(error) => Err(call_error(store, &error)),
    }
}

/// Why a plug-in was stopped. The error that it has set before says more of a trap than the trap itself does, and is what Extism's
/// runtime tells of it.
fn stopped(store: &mut Store<State>, error: &wasmtime::Error) -> CallError {
    let text = kernel::error_text(&mut store.as_context_mut(), ERROR_BYTES);
    match (call_error(store, error), text) {
        (CallError::Trap { kind, frames, console, .. }, Some(message)) => {
            CallError::Trap { kind, message, frames, console }
        }
        (failure, _no_text) => failure,
    }
}

/// Gives the plug-in its input, in a block of a memory that has no others.
async fn begin(store: &mut Store<State>, input: &[u8]) -> wasmtime::Result<()> {
    let mut store = store.as_context_mut();
    kernel::clear(&mut store).await?;
    let offset = kernel::holding(&mut store, input).await??;
    kernel::set_input(&mut store, Span { offset, length: input.len() as u64 })
}

/// Runs the export; one that returns nothing succeeds.
async fn run(store: &mut Store<State>, function: &Func, returns_nothing: bool) -> wasmtime::Result<i32> {
    if returns_nothing {
        function.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await?;
        return Ok(0);
    }
    function.typed::<(), i32>(&*store)?.call_async(&mut *store, ()).await
}

/// How a plug-in ended that gave no output.
enum Ended {
    /// With this text.
    Failed(String),
    /// With more than this many bytes, which may be.
    TooMuch(u64),
}

/// What a plug-in that returned `code` leaves: its error before all else, and its output when there is none.
async fn outcome(store: &mut Store<State>, code: i32) -> wasmtime::Result<Result<Vec<u8>, Ended>> {
    let allowed = store.data().function.limits.reply_bytes;
    let mut store = store.as_context_mut();
    let output = kernel::here(store.data_mut())?.output;
    if let Some(text) = kernel::error_text(&mut store, ERROR_BYTES) {
        return Ok(Err(Ended::Failed(text)));
    }
    if code != 0 {
        return Ok(Err(Ended::Failed(format!("Returned non-zero exit code: {code}"))));
    }
    if !Limits::fits(usize::try_from(output.length)?, allowed) {
        return Ok(Err(Ended::TooMuch(allowed)));
    }
    Ok(Ok(kernel::read(&mut store, output).await?))
}
