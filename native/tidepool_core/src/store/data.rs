//! What a store knows of its guest, and of the call that this serves.

use std::sync::Arc;

use wasmtime::{Instance, Memory};

use crate::base::console::Stream;
use crate::base::error::CallError;
use crate::store::context::FunctionContext;
use crate::store::host_channel::GuestCall;
use crate::store::limiter::Meter;
use crate::store::tail::Tail;

/// Data of a [`wasmtime::Store`]; `A` is what the guest's ABI keeps there.
pub(crate) struct State<A> {
    pub(crate) function: Arc<FunctionContext>,
    pub(crate) meter: Meter,
    /// The guest's memory, from the moment it is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The guest, from then on.
    pub(crate) instance: Option<Instance>,
    /// What the guest prints in its call, from its first line on.
    pub(crate) tail: Option<Arc<Tail>>,
    /// The call that is served. Absent while start functions run ahead of it: those may not call the host.
    pub(crate) call: Option<Arc<GuestCall>>,
    /// Set by a host function that stops the guest for a reason of its own.
    pub(crate) failure: Option<CallError>,
    pub(crate) abi: A,
    /// Bytes that host functions have copied since they last let others have their turn.
    copied: usize,
}

/// Bytes that host functions copy before others have their turn: 20 to 200 µs, by whether their pages are there.
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
            abi: A::default(),
            copied: 0,
        }
    }
}

impl<A> State<A> {
    /// Counts bytes that a host function has copied. True when it is others' turn.
    pub(crate) fn copied(&mut self, bytes: usize) -> bool {
        self.copied += bytes;
        let due = self.copied >= COPIED_BYTES;
        if due {
            self.copied = 0;
        }
        due
    }

    /// Puts the size of the guest's memory on the account of the call that it serves.
    pub(crate) fn note_memory(&self) {
        if let Some(call) = &self.call {
            call.channel.note_memory(self.meter.memory_used);
        }
    }

    /// Passes a line that the guest printed on to the console, within the function's budget, and keeps it for its error.
    pub(crate) fn print(&mut self, stream: Stream, text: &[u8]) {
        tail(&mut self.tail, self.call.as_deref()).push(text);
        self.function.print(stream, text);
    }
}

/// Where lines are kept that an instance prints in this call; the call's driver finds them as well.
pub(crate) fn tail<'a>(tail: &'a mut Option<Arc<Tail>>, call: Option<&GuestCall>) -> &'a Arc<Tail> {
    tail.get_or_insert_with(|| {
        let tail = Arc::default();
        if let Some(call) = call {
            call.channel.set_tail(&tail);
        }
        tail
    })
}
