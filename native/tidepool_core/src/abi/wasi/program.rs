//! A WASI program as an ABI: all of it is one call.

use std::sync::Arc;

use wasmtime::{Func, Linker, Store};

use super::context::builder;
use super::data::Streams;
use super::imports;
use super::input::Input;
use super::output::Output;
use crate::abi::contract::{Abi, ModuleAbi};
use crate::abi::exports::{Exports, Surface};
use crate::abi::guest::Guest;
use crate::abi::process::ENTRY;
use crate::abi::slots::State;
use crate::base::error::{CallError, CompileError};
use crate::base::limits::Limit;
use crate::base::request::Reply;
use crate::process::message::Message;
use crate::store::failure::{call_error, exit_code};

/// Lines of stderr that become the error text of a program that fails.
const ERROR_LINES: usize = 10;

/// A WASI preview 1 command: a whole program is one call, stdin to stdout.
pub(crate) enum Program {}

impl Abi for Program {
    const NAME: &'static str = "wasi";

    fn begin(state: &mut State) {
        let tail = Arc::default();
        let Some(call) = &state.call else { return };
        call.channel.set_tail(&tail);
        let streams =
            Streams { stdout: Output::reply(&state.function, &tail), stderr: Output::tail(&state.function, &tail) };
        let context = builder()
            .arg(String::from_utf8_lossy(&call.request.operation))
            .stdin(Input::new(call.request.payload.bytes().clone()))
            .stdout(streams.stdout.clone())
            .stderr(streams.stderr.clone())
            .build_p1();
        state.tail = Some(tail);
        (state.abi.wasi.context, state.abi.wasi.streams) = (Some(Box::new(context)), Some(streams));
    }

    fn begin_process(state: &mut State, guest: &Guest, _left: Option<Message>) {
        state.abi.wasi.begin(guest);
    }

    async fn serve(store: &mut Store<State>) -> Result<Reply, CallError> {
        let wasi = &mut store.data_mut().abi.wasi;
        let (Some(start), Some(streams)) = (wasi.entry.take(), wasi.streams.take()) else {
            return Err(CallError::Internal { message: "the instance is not one of a WASI program".into() });
        };
        let Err(error) = start.call_async(&mut *store, ()).await else { return Ok(streams.stdout.take().into()) };
        if streams.stdout.overflowed() {
            let allowed = store.data().function.limits.reply_bytes;
            store.data_mut().failure = Some(CallError::limit(Limit::Reply, allowed));
            return Err(streams.stopped(store, &error));
        }
        match exit_code(&error) {
            Some(0) => Ok(streams.stdout.take().into()),
            Some(code) => Err(CallError::Guest { message: streams.error_text(code), exit_code: Some(code) }),
            None => Err(streams.stopped(store, &error)),
        }
    }
}

impl ModuleAbi for Program {
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

impl Streams {
    /// Why the program was stopped, with its last lines: a line that it has not ended is one of them.
    fn stopped(&self, store: &mut Store<State>, error: &wasmtime::Error) -> CallError {
        drop(self.stderr.take());
        call_error(store, error)
    }

    fn error_text(&self, code: i32) -> String {
        let stderr = self.stderr.take();
        let text = String::from_utf8_lossy(&stderr);
        let lines: Vec<&str> = text.lines().collect();
        match lines.get(lines.len().saturating_sub(ERROR_LINES)..) {
            Some(last) if !last.is_empty() => last.join("\n"),
            _ => format!("the program exited with code {code} and wrote nothing to stderr"),
        }
    }
}
