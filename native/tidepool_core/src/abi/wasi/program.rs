//! A WASI program as an ABI: all of it is one call.

use wasmtime::{Func, Linker, Store};

use super::data::Streams;
use super::imports;
use super::poll::POLL;
use crate::abi::contract::{Abi, ModuleAbi};
use crate::abi::exports::{Exports, Surface};
use crate::abi::guest::{ENTRY, Guest};
use crate::abi::slots::State;
use crate::base::error::{CallError, CompileError};
use crate::base::request::Reply;
use crate::process::message::Message;
use crate::store::frames::Waiting;

/// A WASI preview 1 command: a whole program is one call, stdin to stdout.
pub(crate) enum Program {}

impl Abi for Program {
    const NAME: &'static str = "wasi";

    fn begin(state: &mut State) {
        let Some((streams, mut builder)) = Streams::of_call(state) else { return };
        let context = builder.build_p1();
        (state.abi.wasi.context, state.abi.wasi.streams) = (Some(Box::new(context)), Some(streams));
    }

    fn begin_process(state: &mut State, guest: &Guest, _left: Option<Message>) {
        state.abi.begin_files(guest);
    }

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let wasi = &mut store.data_mut().abi.wasi;
        let (Some(start), Some(streams)) = (wasi.entry.take(), wasi.streams.take()) else {
            return Err(CallError::Internal { message: "the instance is not one of a WASI program".into() });
        };
        let returned = start.call_async(&mut *store, ()).await.map(Ok);
        streams.outcome(store, returned)
    }
}

impl ModuleAbi for Program {
    const WAITS: &'static [Waiting] = &[POLL];

    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError> {
        Ok(surface.exports(ENTRY))
    }

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
        imports::link(linker)
    }

    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError> {
        Exports::of(module, (ENTRY, &[], &[]), Self::START_FUNCTIONS)
    }

    fn bind(store: &mut Store<State>, entry: Option<Func>, _exports: &Exports) -> wasmtime::Result<()> {
        let entry = entry.map(|entry| entry.typed(&*store)).transpose()?;
        store.data_mut().abi.wasi.entry = entry;
        Ok(())
    }
}
