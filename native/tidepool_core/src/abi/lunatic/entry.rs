//! Lunatic's interface as an ABI.

use wasmtime::{Extern, Linker, Store, Val, ValType};

use super::data::Entry;
use super::{OWN, PREFIX, imports, networking};
use crate::abi::contract::Abi;
use crate::abi::exports::{Exports, Surface};
use crate::abi::slots::State;
use crate::abi::wasi;
use crate::base::config::EngineKind;
use crate::base::error::{CallError, CompileError};
use crate::base::request::Request;
use crate::base::trap::TrapKind;
use crate::store::failure::{call_error, exit_code};

/// What the name of the export begins with by which the guest crate starts processes.
const SPAWN: &str = "_lunatic_spawn_by_index";

/// [Lunatic](https://lunatic.solutions): `_start` is a program, and its processes are instances of the same module.
pub(crate) enum Lunatic {}

impl Abi for Lunatic {
    const NAME: &'static str = "lunatic";
    // Very many processes live at once.
    const ENGINE: EngineKind = EngineKind::Dense;

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        let imports = surface.imports.iter().any(|module| module.starts_with(PREFIX) || *module == OWN);
        Ok(imports || surface.exports.iter().any(|name| name.starts_with(SPAWN)))
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        imports::link(linker)?;
        networking::link(linker)?;
        wasi::imports::link(linker)
    }

    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError> {
        Exports::memory_alone(module)
    }

    fn begin(_state: &mut State, _request: Request) {}

    async fn serve(store: &mut Store<State>) -> Result<Vec<u8>, CallError> {
        if store.data().abi.lunatic.guest().is_none() {
            let message = "this is a program of processes, which can't be called: start it, with \
                           Tidepool.Process.start_link/3 for instance";
            return Err(CallError::Guest { message: message.into(), exit_code: None });
        }
        let Some(entry) = store.data_mut().abi.lunatic.data().entry.take() else {
            return Err(CallError::Internal { message: "the process runs already".into() });
        };
        let Err(error) = run(store, &entry).await else { return Ok(Vec::new()) };
        match exit_code(&error) {
            Some(0) => Ok(Vec::new()),
            Some(code) => {
                let lines = store.data().tail.as_ref().map_or_else(Vec::new, |tail| tail.lines());
                let message = lines.last().cloned().unwrap_or_else(|| format!("the process exited with code {code}"));
                Err(CallError::Guest { message, exit_code: Some(code) })
            }
            None => Err(call_error(store, &error)),
        }
    }
}

/// Runs the entry, whose result nobody gets.
async fn run(store: &mut Store<State>, entry: &Entry) -> wasmtime::Result<()> {
    let function = store.data().instance.and_then(|instance| instance.get_export(&mut *store, &entry.name));
    let Some(function) = function.and_then(Extern::into_func) else {
        return Err(unfit(store, format!("the module exports no function `{}` for a process to run", entry.name)));
    };
    let ty = function.ty(&*store);
    let given: Vec<ValType> = entry.params.iter().filter_map(kind).collect();
    if !ty.params().map(|it| it.to_string()).eq(given.iter().map(ToString::to_string)) {
        let takes = |types: Vec<String>| types.join(", ");
        let message = format!(
            "the export `{}` takes ({}), and was given ({})",
            entry.name,
            takes(ty.params().map(|it| it.to_string()).collect()),
            takes(given.iter().map(ToString::to_string).collect())
        );
        return Err(unfit(store, message));
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    function.call_async(store, &entry.params, &mut results).await
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
