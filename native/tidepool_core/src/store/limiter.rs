//! Limits of an instance's memory and tables.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::base::limits::{ELEMENT_BYTES, FREE_TABLE_BYTES, Limit, Limits};
use crate::recording::tape::Tape;
use crate::store::context::FunctionContext;

/// Holds an instance to its memory and table limits.
pub(crate) struct Meter {
    memory_bytes: u64,
    table_elements: u32,
    /// The last growth that was refused.
    pub(crate) denied: Option<Limit>,
    /// Size of the linear memory, in bytes; of all that it has.
    pub(crate) memory_used: usize,
    /// What the elements of its tables take.
    pub(crate) table_bytes: usize,
    function: Arc<FunctionContext>,
    /// What the instance has reserved of the function's and the node's memory budget, in bytes.
    reserved: u64,
    /// Knows what was refused, where a call is replayed.
    pub(crate) tape: Option<Arc<Tape>>,
}

impl Meter {
    /// Of an instance that begins.
    pub(crate) fn new(function: &Arc<FunctionContext>) -> Self {
        function.stats.begin_instance();
        Meter {
            memory_bytes: function.limits.memory_bytes,
            table_elements: function.limits.table_elements,
            function: Arc::clone(function),
            denied: None,
            memory_used: 0,
            table_bytes: 0,
            reserved: 0,
            tape: None,
        }
    }

    /// The largest memory that it may have.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Counts what the host keeps for the instance as memory of it, for as long as it lives; `false` when it may not have as much.
    pub(crate) fn keep(&mut self, bytes: usize) -> bool {
        self.memory_growing(0, bytes, None).unwrap_or(false)
    }

    /// The same of what no guest is told of, so that it is on no tape.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let all = self.memory_used.saturating_add(bytes);
        let held = Limits::fits(all, self.memory_bytes) && self.reserve(u64::try_from(bytes).unwrap_or(u64::MAX));
        if held {
            self.memory_used = all;
        }
        held
    }

    /// The same of what the guest is told when there is no room for it: what stops it later is not that.
    pub(crate) fn keep_if_room(&mut self, bytes: usize) -> bool {
        let denied = self.denied;
        let kept = self.keep(bytes);
        self.denied = denied;
        kept
    }

    /// Lowers the largest memory to `bytes`, if that is less.
    pub(crate) fn lower(&mut self, bytes: u64) {
        self.memory_bytes = self.memory_bytes.min(bytes);
    }

    /// The same, if the tape has nothing else.
    fn admit(&mut self, bytes: u64) -> bool {
        match self.tape.clone() {
            Some(tape) => !tape.refuses(|| !self.reserve(bytes)),
            None => self.reserve(bytes),
        }
    }

    /// Reserves `bytes` more of the function's and the node's memory budget, for as long as the instance lives.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let reserved = self.function.reserve_memory(bytes);
        if reserved {
            self.function.stats.take_memory(bytes);
            self.reserved = self.reserved.saturating_add(bytes);
        }
        reserved
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.function.stats.end_instance(self.reserved);
        self.function.release_memory(self.reserved);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        if !Limits::fits(self.memory_used.saturating_add(growth), self.memory_bytes) {
            self.denied = Some(Limit::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The engine refuses it, by the module's own limit.
            return Ok(true);
        }
        if !self.admit(u64::try_from(growth).unwrap_or(u64::MAX)) {
            self.denied = Some(Limit::TotalMemory);
            return Ok(false);
        }
        self.memory_used = self.memory_used.saturating_add(growth);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = u32::try_from(desired).is_ok_and(|desired| desired <= self.table_elements);
        if !fits {
            self.denied = Some(Limit::Table);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The engine refuses it, by the table's own limit.
            return Ok(true);
        }
        let grown = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        let all = self.table_bytes.saturating_add(grown);
        let counted = all.saturating_sub(self.table_bytes.max(FREE_TABLE_BYTES));
        if counted > 0 && !self.admit(u64::try_from(counted).unwrap_or(u64::MAX)) {
            self.denied = Some(Limit::TotalMemory);
            return Ok(false);
        }
        self.table_bytes = all;
        Ok(true)
    }
}
