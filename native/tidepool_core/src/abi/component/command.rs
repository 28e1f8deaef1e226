//! Commands: components that export `wasi:cli/run` of WASI 0.2, which `cargo build --target wasm32-wasip2` makes of a program.
//!
//! All of a command is one call, as all of a WASI program of preview 1 is; or a process runs it.

use wasmtime::Store;

use super::wasi;
use crate::abi::contract::{Abi, ComponentAbi};
use crate::abi::guest::Guest;
use crate::abi::interface::{self, Interface};
use crate::abi::slots::State;
use crate::abi::wasi::data::Streams;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::process::message::Message;

/// The interface that a command exports, of any version of WASI 0.2.
const INTERFACE: &str = "wasi:cli/run";
/// The function of it.
const EXPORT: &[u8] = b"wasi:cli/run#run";

/// A component that is a program.
pub(crate) enum Command {}

impl Abi for Command {
    const NAME: &'static str = "command";

    fn begin(state: &mut State) {
        let Some((streams, builder)) = Streams::of_call(state) else { return };
        let memory_bytes = state.function.limits.memory_bytes;
        let slot = &mut state.abi.component;
        (slot.context, slot.streams) = (Some(wasi::made(builder, memory_bytes, slot.handle_tables)), Some(streams));
    }

    fn begin_process(state: &mut State, guest: &Guest, _left: Option<Message>) {
        state.abi.begin_files(guest);
    }

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let Some(streams) = store.data_mut().abi.component.streams.take() else {
            return Err(CallError::Internal { message: "the instance is not one of a command".into() });
        };
        let returned = run(store).await;
        streams.outcome(store, returned)
    }
}

impl ComponentAbi for Command {
    fn suits(exports: &[&str]) -> bool {
        interface::has(exports, INTERFACE)
    }

    fn detect(interface: &Interface) -> bool {
        interface.find(EXPORT).is_some()
    }
}

/// Runs the command that the guest is: what it returned.
///
/// # Errors
/// What stopped it; its exit is an error of wasmtime-wasi's.
pub(in crate::abi) async fn run(store: &mut Store<State>) -> wasmtime::Result<Result<(), ()>> {
    let Some((instance, interface)) = store.data_mut().abi.component.guest.take() else {
        return Err(wasmtime::Error::msg("the guest is no command"));
    };
    let index = interface.find(EXPORT).map(|export| export.index);
    let function = index.and_then(|index| instance.get_func(&mut *store, index));
    let function = function.ok_or_else(|| wasmtime::Error::msg("the command exports no `run`"))?;
    let (returned,) = function.typed::<(), (Result<(), ()>,)>(&*store)?.call_async(&mut *store, ()).await?;
    Ok(returned)
}
