//! Lunatic's interface as an ABI.

use wasmtime::{Linker, Store};

use super::{OWN, PREFIX, imports, networking, waits};
use crate::abi::contract::{Abi, ModuleAbi};
use crate::abi::exports::{Exports, Surface};
use crate::abi::guest::Guest;
use crate::abi::slots::State;
use crate::abi::wasi;
use crate::base::config::EngineKind;
use crate::base::error::{CallError, CompileError};
use crate::base::request::Reply;
use crate::process::message::Message;
use crate::store::frames::Waiting;

/// What the name of the export begins with by which the guest crate starts processes.
const SPAWN: &str = "_lunatic_spawn_by_index";

/// [Lunatic](https://lunatic.solutions): `_start` is a program, and its processes are instances of the same module.
pub(crate) enum Lunatic {}

impl Abi for Lunatic {
    const NAME: &'static str = "lunatic";
    // Very many processes live at once.
    const ENGINE: EngineKind = EngineKind::Dense;

    fn begin_process(state: &mut State, guest: &Guest, left: Option<Message>) {
        state.abi.begin_files(guest);
        let tape = state.tape.clone();
        state.abi.lunatic.data().begin(guest, left, tape.as_ref());
    }

    async fn serve(_store: &mut Store<State>) -> Result<Reply, CallError> {
        let message = "this is a program of processes, which can't be called: start it, with \
                       Tidepool.Process.start_link/3 for instance";
        Err(CallError::Guest { message: message.into(), exit_code: None })
    }
}

impl ModuleAbi for Lunatic {
    const WAITS: &'static [Waiting] = waits::ALL;

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
}
