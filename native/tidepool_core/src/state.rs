//! What a store knows of the call that its guest serves.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::{Instance, Memory, ResourceLimiter};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::console::{Line, Stream, Tail, line_text};
use crate::error::CallError;
use crate::function::{Link, Shared};
use crate::limits::{Limit, Limits};
use crate::port::HostReply;

/// Data of a [`wasmtime::Store`].
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) meter: Meter,
    /// The guest's memory, from the moment it is instantiated.
    pub(crate) memory: Option<Memory>,
    /// The guest, from then on.
    pub(crate) instance: Option<Instance>,
    /// What WASI imports work on, of guests that have called one. Boxed, for it is large and others move the state too.
    pub(crate) wasi: Option<Box<WasiP1Ctx>>,
    /// What the guest prints in its call, from its first line on.
    pub(crate) tail: Option<Arc<Tail>>,
    pub(crate) call: Call,
    /// Bytes that host functions have copied since they last let others have their turn.
    copied: usize,
}

/// Bytes that host functions copy before others have their turn: 20 to 200 µs, by whether their pages are there.
const COPIED_BYTES: usize = 256 << 10;

/// The part of the state that belongs to one call.
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) operation: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) guest_error: Option<Vec<u8>>,
    pub(crate) host_reply: Option<HostReply>,
    /// Set by a host function that stops the guest for a reason of its own.
    pub(crate) failure: Option<CallError>,
    /// Absent while start functions run: those may not call the host.
    pub(crate) link: Option<Arc<Link>>,
    /// The link of a program's call: it has no host calls, and the same account.
    pub(crate) account: Option<Arc<Link>>,
}

impl State {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let meter = Meter {
            memory_bytes: shared.limits.memory_bytes,
            table_elements: shared.limits.table_elements,
            shared: Arc::clone(&shared),
            denied: None,
            memory_used: 0,
            reserved: 0,
        };
        State { shared, meter, memory: None, instance: None, wasi: None, tail: None, call: Call::default(), copied: 0 }
    }

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
        if let Some(link) = self.call.link.as_ref().or(self.call.account.as_ref()) {
            link.port.note_memory(self.meter.memory_used);
        }
    }

    /// Passes a line that the guest printed on to the console, within the function's budget, and keeps it for its error.
    pub(crate) fn print(&mut self, stream: Stream, text: &[u8]) {
        Call::tail(&mut self.tail, &self.call).push(text);
        self.shared.print(stream, text);
    }
}

impl Call {
    /// Where lines are kept that an instance prints in this call; the call's driver finds them as well.
    pub(crate) fn tail<'a>(tail: &'a mut Option<Arc<Tail>>, call: &Call) -> &'a Arc<Tail> {
        tail.get_or_insert_with(|| {
            let tail = Arc::default();
            if let Some(link) = &call.link {
                link.port.set_tail(&tail);
            }
            tail
        })
    }
}

impl Shared {
    /// Passes a printed line on to the console, within the function's budget.
    pub(crate) fn print(&self, stream: Stream, text: &[u8]) {
        let Some(dropped) = self.budget.take(Instant::now()) else {
            self.stats.count_dropped_line();
            return;
        };
        let line =
            Line { function: self.name.to_string(), version: self.version, stream, text: line_text(text), dropped };
        if self.console.print(line).is_err() {
            self.stats.count_dropped_line();
            self.budget.give_back(dropped);
        }
    }
}

/// Holds an instance to its memory and table limits.
pub(crate) struct Meter {
    memory_bytes: u64,
    table_elements: u32,
    /// The last growth that was refused.
    pub(crate) denied: Option<Limit>,
    /// Size of the linear memory, in bytes.
    pub(crate) memory_used: usize,
    shared: Arc<Shared>,
    /// What the instance holds of the budgets for all.
    reserved: u64,
}

impl Meter {
    /// Reserves so many bytes more of what the function's instances, and those of the node, may have together.
    fn reserve(&mut self, bytes: u64) -> bool {
        let reserved = self.shared.reserve_memory(bytes);
        if reserved {
            self.reserved = self.reserved.saturating_add(bytes);
        }
        reserved
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.release_memory(self.reserved);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if !Limits::fits(desired, self.memory_bytes) {
            self.denied = Some(Limit::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The engine refuses it for the module's own limit.
            return Ok(true);
        }
        if !self.reserve(u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX)) {
            self.denied = Some(Limit::TotalMemory);
            return Ok(false);
        }
        self.memory_used = desired;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = u32::try_from(desired).is_ok_and(|desired| desired <= self.table_elements);
        if !fits {
            self.denied = Some(Limit::Table);
        }
        Ok(fits)
    }
}
