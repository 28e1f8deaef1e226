//! The context of WASI imports: no files, network or environment; real clocks and randomness.

use std::sync::Arc;

use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{HostMonotonicClock, WasiCtxBuilder};

use super::output::Output;
use super::stdio::{Stdin, Written};
use super::taped;
use crate::abi::clock::Clock;
use crate::abi::guest::Guest;
use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::base::printed::Printed;
use crate::recording::tape::Reel;
use crate::store::context::FunctionContext;
use crate::store::data::tail;
use crate::store::tail::Tail;

/// The context of a guest's imports. A program has it from the start. A waPC guest gets it with the first import that it calls:
/// many call none, and making a context is a sixth of a short call in a fresh instance.
pub(super) fn context(state: &mut State) -> &mut WasiP1Ctx {
    let reel = if state.abi.wasi.context.is_none() { state.reel() } else { None };
    let State { abi, function, tail: lines, call, .. } = state;
    let (clock, guest) = (abi.clock, abi.guest.as_deref());
    abi.wasi.context.get_or_insert_with(|| {
        Box::new(of_guest(function, tail(lines, call.as_ref()), guest, (clock, reel.as_ref())).build_p1())
    })
}

/// The context of a guest whose output is printed, unless it is a process with standard input and output of its program's own.
pub(in crate::abi) fn of_guest(
    function: &Arc<FunctionContext>,
    tail: &Arc<Tail>,
    guest: Option<&Guest>,
    clocks: (Option<Clock>, Option<&Reel>),
) -> WasiCtxBuilder {
    let mut builder = builder();
    set_clocks(&mut builder, clocks);
    if let Some(guest) = guest {
        builder.args(&guest.config.world.args).envs(&guest.config.world.env);
    }
    match guest.and_then(|guest| guest.program.stdio.clone()) {
        Some(own) => {
            let [stdout, stderr] = [Stream::Stdout, Stream::Stderr].map(|stream| Written(Arc::clone(&own), stream));
            builder.stdin(Stdin(own)).stdout(stdout).stderr(stderr);
        }
        None => print_to(&mut builder, function, tail),
    }
    builder
}

fn print_to(builder: &mut WasiCtxBuilder, function: &Arc<FunctionContext>, tail: &Arc<Tail>) {
    let [stdout, stderr] = streams(function, tail);
    builder.stdout(stdout).stderr(stderr);
}

fn streams(function: &Arc<FunctionContext>, tail: &Arc<Tail>) -> [Output; 2] {
    [Stream::Stdout, Stream::Stderr].map(|stream| Output::printed(function, stream, tail))
}

/// Prints the output of start functions that ran for a snapshot.
pub(in crate::abi) fn print(printed: &Printed, function: &Arc<FunctionContext>) {
    let [stdout, stderr] = streams(function, &Arc::default());
    for (stream, piece) in printed.pieces() {
        match stream {
            Stream::Console => function.print(Stream::Console, piece),
            Stream::Stdout => stdout.print(piece),
            Stream::Stderr => stderr.print(piece),
        }
    }
}

/// Gives a guest its clocks: one that goes on, and such as are on a tape.
pub(super) fn set_clocks(builder: &mut WasiCtxBuilder, (clock, reel): (Option<Clock>, Option<&Reel>)) {
    match (clock, reel) {
        (clock, Some(reel)) => {
            let clock = clock.unwrap_or_else(|| Clock::starting_at(0));
            builder.monotonic_clock(taped::Monotonic(clock, reel.clone()));
            builder.wall_clock(taped::Wall(reel.clone()));
        }
        (Some(clock), None) => drop(builder.monotonic_clock(clock)),
        (None, None) => {}
    }
}

pub(super) fn builder() -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    builder.allow_tcp(false).allow_udp(false);
    builder
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.ns()
    }
}
