//! What a process begins with: the bounds of its program, its store, and its tape.

use std::sync::Arc;

use wasmtime::Val;

use crate::abi::begun::begun;
use crate::abi::guest::Guest;
use crate::abi::slots::State;
use crate::base::fair_share::Numbers;
use crate::base::request::ShortName;
use crate::call::sockets::access;
use crate::call::target::{Call, Target};
use crate::process::bounds::Bounds;
use crate::process::bounds::account::HostMemory;
use crate::process::message::Message;
use crate::process::place::Place;
use crate::process::program::{Output, Program};
use crate::recording::outside::begun::Begun;
use crate::recording::tape::Tape;
use crate::recording::taped::Whence;
use crate::store::context::FunctionContext;

/// What the processes of a function's programs may have, on each node.
pub(in crate::call) fn bounds(target: &Target) -> Bounds {
    let memory = Arc::new(OfFunction(Arc::clone(&target.function)));
    Bounds::of(target.limits(), memory, target.function.stats.function.processes())
}

/// The memory that a function's programs may have on the host.
struct OfFunction(Arc<FunctionContext>);

impl HostMemory for OfFunction {
    fn reserve(&self, bytes: usize) -> bool {
        self.0.hold_on_host(bytes)
    }

    fn force(&self, bytes: usize) {
        self.0.keep_on_host(bytes);
    }

    fn release(&self, bytes: usize) {
        self.0.release_on_host(bytes);
    }

    fn limit(&self) -> usize {
        usize::try_from(self.0.host_limit()).unwrap_or(usize::MAX)
    }

    fn renumber(&self, before: Numbers, now: Numbers) {
        self.0.stats.function.numbers.change(before, now);
    }
}

/// A program of a function, without processes yet.
pub(in crate::call) fn new_program(
    target: &Target,
    bounds: Bounds,
    place: Place,
    output: Option<Arc<dyn Output>>,
) -> Program {
    let (function, access) = (&target.function, access(&target.node, &target.function));
    Program::new(&function.name, function.version, bounds, access, place, output)
}

/// Sets the store of a process up, whose entry gets these parameters.
pub(in crate::call) fn prepare(
    call: &Call,
    guest: Arc<Guest>,
    params: &[Val],
) -> impl FnOnce(&mut State) + Send + use<> {
    let left = if guest.process.is_first() { guest.program.upgrade.take().map(Message::Data) } else { None };
    let tape = tape(call, &guest, params, left.as_ref());
    set_up(call, guest, left, tape)
}

/// The same with a tape, on which its call has begun.
pub(in crate::call) fn set_up(
    call: &Call,
    guest: Arc<Guest>,
    left: Option<Message>,
    tape: Option<Arc<Tape>>,
) -> impl FnOnce(&mut State) + Send + use<> {
    let begin = call.target.module.abi.begin_process;
    let call = call.for_guest();
    move |state| {
        state.set_tape(tape);
        state.call = Some(call);
        state.meter.lower(guest.config.max_memory);
        begin(state, &guest, left);
        state.abi.guest = Some(guest);
    }
}

/// The tape of a process, if its function is recorded: its one call is for its entry, with all that it begins with.
fn tape(call: &Call, guest: &Guest, params: &[Val], left: Option<&Message>) -> Option<Arc<Tape>> {
    // Of components, calls are.
    call.target.module.as_module()?;
    let tape = call.target.tape(|| Whence::Process)?;
    let begun = begun(guest, params, left);
    let payload = begun.as_ref().map(Begun::write).unwrap_or_default();
    call.channel.set_taped(tape.begin(&ShortName::from_slice(guest.process.entry.as_bytes()), &payload.into()));
    let lost = match begun {
        None => Some("it was left sockets"),
        Some(_) if guest.program.stdio.is_some() => Some("its program has standard input and output of its own"),
        Some(_) if !guest.config.folders.is_empty() => Some("it has folders"),
        Some(_) => None,
    };
    lost.into_iter().for_each(|why| tape.lose(why));
    Some(tape)
}
