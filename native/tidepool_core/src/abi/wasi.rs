//! WASI preview 1: whole programs as calls, and the imports that some waPC guests need.
//!
//! What a guest finds is empty: no files, no network, no environment; clocks and randomness are real. A program gets the
//! operation as its name (`argv[0]`), the payload as stdin, and its stdout is the reply.

use std::sync::Arc;

use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::output::Output;
use crate::console::Stream;
use crate::error::CallError;
use crate::function::{Request, Shared};
use crate::instance::{Entry, Parts};
use crate::limits::Limit;
use crate::state::State;

/// Lines of stderr that become the error text of a program that fails.
const ERROR_LINES: usize = 10;
/// Most random bytes that a guest gets at once: filling more would hold the thread.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// Offers preview 1.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // Programs come with a context. Many waPC guests import WASI and do without it in a call: they get theirs when they first
    // ask for it, for making one is a sixth of a short call in a fresh instance.
    p1::add_to_linker_async(linker, |state: &mut State| {
        let State { wasi, shared, .. } = state;
        &mut **wasi.get_or_insert_with(|| library(shared))
    })
}

/// What a waPC guest that imports WASI finds: its output is printed.
fn library(shared: &Arc<Shared>) -> Box<WasiP1Ctx> {
    let (stdout, stderr) = (Output::printed(shared, Stream::Stdout), Output::printed(shared, Stream::Stderr));
    Box::new(builder().stdout(stdout).stderr(stderr).build_p1())
}

/// What start functions find that run ahead of all calls.
pub(crate) fn empty() -> WasiP1Ctx {
    builder().build_p1()
}

/// The two ends of a program that its caller sees.
pub(crate) struct Program {
    stdout: Output,
    stderr: Output,
}

/// What a program finds, and where its output goes.
pub(crate) fn program(shared: &Arc<Shared>, request: Request) -> (Box<WasiP1Ctx>, Program) {
    let program = Program { stdout: Output::reply(shared), stderr: Output::tail(shared) };
    let context = builder()
        .arg(String::from_utf8_lossy(&request.operation))
        .stdin(MemoryInputPipe::new(request.payload))
        .stdout(program.stdout.clone())
        .stderr(program.stderr.clone())
        .build_p1();
    (Box::new(context), program)
}

/// Runs the program to its end.
///
/// # Errors
/// [`CallError::Guest`] when it exits with anything but 0, anything else when it was stopped.
pub(crate) async fn run(parts: &mut Parts, program: &Program) -> Result<Vec<u8>, CallError> {
    let Entry::Command(start) = &parts.entry else {
        return Err(CallError::Internal { message: "the instance is not one of a WASI program".into() });
    };
    let Err(error) = start.call_async(&mut parts.store, ()).await else { return Ok(program.stdout.take()) };
    if program.stdout.overflowed() {
        let allowed = parts.store.data().shared.limits.reply_bytes;
        return Err(CallError::Limit { limit: Limit::Reply, allowed, frames: crate::trap::frames(&error, 0) });
    }
    match exit_code(&error) {
        Some(0) => Ok(program.stdout.take()),
        Some(code) => Err(CallError::Guest { message: program.error_text(code), exit_code: Some(code) }),
        None => Err(parts.call_error(&error)),
    }
}

/// The code with which the guest exited, when that is what `error` says.
pub(crate) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

impl Program {
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

fn builder() -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    builder.max_random_size(MAX_RANDOM_BYTES).allow_tcp(false).allow_udp(false);
    builder
}
