//! waPC as an ABI.

use std::sync::Arc;

use wasmtime::{Func, Linker, Store, ValType};

use super::data::WapcSlot;
use super::imports::{self, MODULE};
use crate::abi::contract::{Abi, ModuleAbi};
use crate::abi::exports::{Exports, Surface};
use crate::abi::memory::length;
use crate::abi::rehearsal::Rehearsal;
use crate::abi::slots::State;
use crate::abi::wasi;
use crate::base::error::{CallError, CompileError};
use crate::base::printed::Printed;
use crate::base::request::Reply;
use crate::store::context::FunctionContext;
use crate::store::failure::call_error;

/// The export that serves a call.
const GUEST_CALL: &str = "__guest_call";

/// [waPC](https://wapc.io/docs/spec/): `__guest_call` serves any number of calls.
pub(crate) enum Wapc {}

impl Abi for Wapc {
    const NAME: &'static str = "wapc";
    const REUSABLE: bool = true;
    const RUNS: bool = false;

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let state = store.data_mut();
        let lengths = state
            .call
            .as_ref()
            .map_or((0, 0), |call| (length(call.request.operation.len()), length(call.request.payload.bytes().len())));
        let Some(entry) = state.abi.wapc.entry.take() else {
            return Err(CallError::Internal { message: "the instance is not one of a waPC module".into() });
        };
        let code = match entry.call_async(&mut *store, lengths).await {
            Ok(code) => code,
            Err(error) => return Err(call_error(store, &error)),
        };
        let wapc = &mut store.data_mut().abi.wapc;
        wapc.entry = Some(entry);
        let message = match (code, wapc.reply.take(), wapc.guest_error.take()) {
            (1, Some(reply), _) => return Ok(Reply::Bytes(reply)),
            (1, None, None) => return Ok(Reply::Bytes(Vec::new())),
            // A guest that leaves nothing but an error text means it, whatever it returns.
            (_, _, Some(text)) => String::from_utf8_lossy(&text).into_owned(),
            (code, _, None) => format!("the guest returned {code} instead of 1, and no error text"),
        };
        Err(CallError::Guest { message, exit_code: None })
    }

    fn end(state: &mut State) {
        let slot = &mut state.abi.wapc;
        *slot = WapcSlot { entry: slot.entry.take(), ..WapcSlot::default() };
    }
}

impl ModuleAbi for Wapc {
    const START_FUNCTIONS: &'static [&'static str] = &["_initialize", "_start", "wapc_init"];

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        let speaks = surface.exports(GUEST_CALL);
        if !speaks && surface.imports.contains(&MODULE) {
            return Err(CompileError::MissingExport { name: GUEST_CALL.into(), kind: "a function named" });
        }
        Ok(speaks)
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        imports::link(linker)?;
        wasi::imports::link(linker)
    }

    fn rehearse(linker: &mut Linker<Rehearsal>, store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
        imports::rehearse(linker)?;
        wasi::rehearsal::link(linker, store)
    }

    fn print_kept(printed: &Printed, function: &Arc<FunctionContext>) {
        wasi::context::print(printed, function);
    }

    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError> {
        let call = (GUEST_CALL, &[ValType::I32, ValType::I32][..], &[ValType::I32][..]);
        Exports::of(module, call, Self::START_FUNCTIONS)
    }

    fn bind(store: &mut Store<State>, entry: Option<Func>, _exports: &Exports) -> wasmtime::Result<()> {
        let entry = entry.map(|entry| entry.typed(&*store)).transpose()?;
        store.data_mut().abi.wapc.entry = entry;
        Ok(())
    }
}
