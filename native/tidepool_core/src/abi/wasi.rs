//! WASI preview 1, and preview 0 with it: whole programs as calls, and the imports that some waPC guests need.
//!
//! What a guest finds is empty: no files, no network, no environment; clocks and randomness are real. A program gets the
//! operation as its name (`argv[0]`), the payload as stdin, and its stdout is the reply.

mod bounded;
mod input;
mod preview0;

use std::sync::Arc;

use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::output::Output;
use super::{PREVIEW_0, WASI_MODULE};
use crate::console::{Stream, Tail};
use crate::error::CallError;
use crate::function::{Link, Request, Shared};
use crate::instance::{Entry, Parts};
use crate::limits::Limit;
use crate::state::{Call, State};
use input::Input;

/// Lines of stderr that become the error text of a program that fails.
const ERROR_LINES: usize = 10;

/// Offers preview 1, and preview 0 to those that ask for it.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, context)?;
    bounded::link(linker)?;
    preview0::link(linker)
}

/// What a guest's imports work on. Programs come with it. Many waPC guests import WASI and do without it in a call: they get
/// theirs when they first ask for it, for making one is a sixth of a short call in a fresh instance.
fn context(state: &mut State) -> &mut WasiP1Ctx {
    let State { wasi, shared, tail, call, .. } = state;
    wasi.get_or_insert_with(|| library(shared, Call::tail(tail, call)))
}

/// What a waPC guest that imports WASI finds: its output is printed.
fn library(shared: &Arc<Shared>, tail: &Arc<Tail>) -> Box<WasiP1Ctx> {
    let printed = |stream| Output::printed(shared, stream, tail);
    let (stdout, stderr) = (printed(Stream::Stdout), printed(Stream::Stderr));
    Box::new(builder().stdout(stdout).stderr(stderr).build_p1())
}

/// What start functions find that run ahead of all calls.
pub(crate) fn empty() -> WasiP1Ctx {
    builder().build_p1()
}

/// What a program finds, and where the lines are that it prints.
pub(crate) struct World {
    pub(crate) context: Box<WasiP1Ctx>,
    pub(crate) tail: Arc<Tail>,
}

/// The two ends of a program that its caller sees.
pub(crate) struct Program {
    stdout: Output,
    stderr: Output,
}

/// What a program finds, and where its output goes.
pub(crate) fn program(link: &Link, request: Request) -> (World, Program) {
    let (shared, tail) = (&link.replica.shared, Arc::default());
    link.port.set_tail(&tail);
    let program = Program { stdout: Output::reply(shared, &tail), stderr: Output::tail(shared, &tail) };
    let context = builder()
        .arg(String::from_utf8_lossy(&request.operation))
        .stdin(Input::new(request.payload))
        .stdout(program.stdout.clone())
        .stderr(program.stderr.clone())
        .build_p1();
    (World { context: Box::new(context), tail }, program)
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
        parts.store.data_mut().call.failure = Some(CallError::limit(Limit::Reply, allowed));
        return Err(program.stopped(parts, &error));
    }
    match exit_code(&error) {
        Some(0) => Ok(program.stdout.take()),
        Some(code) => Err(CallError::Guest { message: program.error_text(code), exit_code: Some(code) }),
        None => Err(program.stopped(parts, &error)),
    }
}

/// The code with which the guest exited, when that is what `error` says.
pub(crate) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

impl Program {
    /// Why the program was stopped; a line that it had not ended is among its last ones.
    fn stopped(&self, parts: &mut Parts, error: &wasmtime::Error) -> CallError {
        drop(self.stderr.take());
        parts.call_error(error)
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

fn builder() -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    builder.allow_tcp(false).allow_udp(false);
    builder
}
