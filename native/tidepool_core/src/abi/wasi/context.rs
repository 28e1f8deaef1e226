//! What WASI imports work on: an empty world with real clocks and randomness.

use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::output::Output;
use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::base::printed::Printed;
use crate::store::context::FunctionContext;
use crate::store::data::tail;
use crate::store::tail::Tail;

/// What a guest's imports work on. Programs come with it. Many waPC guests import WASI and do without it in a call: they get
/// theirs when they first ask for it, for making one is a sixth of a short call in a fresh instance.
pub(super) fn context(state: &mut State) -> &mut WasiP1Ctx {
    let State { abi, function, tail: lines, call, .. } = state;
    abi.wasi.context.get_or_insert_with(|| library(function, tail(lines, call.as_deref())))
}

/// What a guest finds that is no program: its output is printed.
fn library(function: &Arc<FunctionContext>, tail: &Arc<Tail>) -> Box<WasiP1Ctx> {
    let [stdout, stderr] = streams(function, tail);
    Box::new(builder().stdout(stdout).stderr(stderr).build_p1())
}

fn streams(function: &Arc<FunctionContext>, tail: &Arc<Tail>) -> [Output; 2] {
    [Stream::Stdout, Stream::Stderr].map(|stream| Output::printed(function, stream, tail))
}

/// What start functions find that run ahead of all calls.
pub(crate) fn empty() -> WasiP1Ctx {
    builder().build_p1()
}

/// Prints what start functions printed that ran ahead of all calls.
pub(crate) fn print(printed: &Printed, function: &Arc<FunctionContext>) {
    let [stdout, stderr] = streams(function, &Arc::default());
    for (stream, piece) in printed.pieces() {
        match stream {
            Stream::Console => function.print(Stream::Console, piece),
            Stream::Stdout => stdout.print(piece),
            Stream::Stderr => stderr.print(piece),
        }
    }
}

pub(super) fn builder() -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    builder.allow_tcp(false).allow_udp(false);
    builder
}
