//! Data of a store: its guest, and the call that this guest serves.

use std::sync::Arc;

use wasmtime::{Instance, Memory};

use crate::base::console::Stream;
use crate::base::error::CallError;
use crate::recording::tape::{Reel, Tape};
use crate::store::context::FunctionContext;
use crate::store::frames::Frames;
use crate::store::host_channel::GuestCall;
use crate::store::limiter::Meter;
use crate::store::tail::Tail;

/// Data of a [`wasmtime::Store`]; `A` is what the guest's ABI keeps there.
pub(crate) struct State<A> {
    pub(crate) function: Arc<FunctionContext>,
    pub(crate) meter: Meter,
    /// The guest's memory, from the moment it is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The guest, from that moment on.
    pub(crate) instance: Option<Instance>,
    /// The last lines that the guest printed in its call.
    pub(crate) tail: Option<Arc<Tail>>,
    /// The call that the guest serves. `None` while start functions run before it: those may not call the host.
    pub(crate) call: Option<GuestCall>,
    /// Set by a host function that stops the guest for a reason of its own.
    pub(crate) failure: Option<CallError>,
    /// Did the guest end itself in its call, though that succeeded?
    pub(crate) ended: bool,
    /// What the guest is told goes onto it, or comes from it.
    pub(crate) tape: Option<Arc<Tape>>,
    /// The same, once something asks it without the store.
    reel: Option<Reel>,
    /// What it has for leaving its stack, if its module is one for that.
    pub(crate) frames: Option<Box<Frames>>,
    pub(crate) abi: A,
    /// Bytes that host functions have copied since the guest last yielded.
    copied: usize,
}

/// Bytes that host functions copy before the guest yields: 20 to 200 µs, depending on whether their pages are resident.
const COPIED_BYTES: usize = 256 << 10;

impl<A: Default> State<A> {
    pub(crate) fn new(function: Arc<FunctionContext>) -> Self {
        State {
            meter: Meter::new(&function),
            function,
            memory: None,
            instance: None,
            tail: None,
            call: None,
            failure: None,
            ended: false,
            tape: None,
            reel: None,
            frames: None,
            abi: A::default(),
            copied: 0,
        }
    }
}

/// What of a store goes along when its guest goes on in another one: all that is of its call, and what its ABI has of it.
pub(crate) struct Belongings<A> {
    tail: Option<Arc<Tail>>,
    call: Option<GuestCall>,
    tape: Option<Arc<Tape>>,
    reel: Option<Reel>,
    abi: A,
}

impl<A> Belongings<A> {
    /// What its ABI has of the guest.
    pub(crate) fn abi(&self) -> &A {
        &self.abi
    }

    /// The same, to be changed.
    pub(crate) fn abi_mut(&mut self) -> &mut A {
        &mut self.abi
    }

    /// Leaves the call: a reference to it is dropped where its task is.
    pub(crate) fn leave_call(&mut self) {
        self.call = None;
    }
}

impl<A: Default> State<A> {
    /// Takes what goes along.
    pub(crate) fn take_belongings(&mut self) -> Belongings<A> {
        self.meter.tape = None;
        let State { tail, call, tape, reel, abi, .. } = self;
        let (tail, call) = (tail.take(), call.take());
        Belongings { tail, call, tape: tape.take(), reel: reel.take(), abi: std::mem::take(abi) }
    }

    /// Puts it here.
    pub(crate) fn put_belongings(&mut self, belongings: Belongings<A>) {
        let Belongings { tail, call, tape, reel, abi } = belongings;
        (self.tail, self.call, self.reel, self.abi) = (tail, call, reel, abi);
        self.set_tape(tape);
    }
}

impl<A> State<A> {
    /// Gives it a tape, or another one.
    pub(crate) fn set_tape(&mut self, tape: Option<Arc<Tape>>) {
        if let (Some(reel), Some(tape)) = (&self.reel, &tape) {
            reel.change(tape);
        }
        self.meter.tape.clone_from(&tape);
        self.tape = tape;
    }

    /// Its tape, for what asks it without the store.
    pub(crate) fn reel(&mut self) -> Option<Reel> {
        self.tape.as_ref().map(|tape| self.reel.get_or_insert_with(|| Reel::of(tape)).clone())
    }

    /// Gives the guest a call to serve.
    pub(crate) fn begin_call(&mut self, call: GuestCall) {
        if let Some(tape) = self.tape.as_ref().filter(|_| call.channel.taped().is_none()) {
            call.channel.set_taped(tape.begin(&call.request.operation, &call.request.payload));
        }
        self.call = Some(call);
    }

    /// Counts bytes that a host function has copied. True when the guest should yield.
    pub(crate) fn copied(&mut self, bytes: usize) -> bool {
        self.copied += bytes;
        let due = self.copied >= COPIED_BYTES;
        if due {
            self.copied = 0;
        }
        due
    }

    /// Notes the size of the guest's memory for the usage of its call.
    pub(crate) fn note_memory(&self) {
        if let Some(call) = &self.call {
            call.channel.note_memory(self.meter.memory_used);
        }
    }

    /// Passes a line that the guest printed on to the console, within the function's budget, and keeps it for error messages.
    pub(crate) fn print(&mut self, stream: Stream, text: &[u8]) {
        tail(&mut self.tail, self.call.as_ref()).push(text);
        self.function.print(stream, text);
    }
}

/// The last lines that the instance prints in this call; the call's driver reads them, too.
pub(crate) fn tail<'a>(tail: &'a mut Option<Arc<Tail>>, call: Option<&GuestCall>) -> &'a Arc<Tail> {
    tail.get_or_insert_with(|| {
        let tail = Arc::default();
        if let Some(call) = call {
            call.channel.set_tail(&tail);
        }
        tail
    })
}
