//! Limits of an instance's memory and tables.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::base::limits::{Limit, Limits};
use crate::store::context::FunctionContext;

/// Holds an instance to its memory and table limits.
pub(crate) struct Meter {
    memory_bytes: u64,
    table_elements: u32,
    /// The last growth that was refused.
    pub(crate) denied: Option<Limit>,
    /// Size of the linear memory, in bytes; of all that a component has.
    pub(crate) memory_used: usize,
    function: Arc<FunctionContext>,
    /// What the instance has reserved of the function's and the node's memory budget, in bytes.
    reserved: u64,
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
            reserved: 0,
        }
    }

    /// The largest memory that it may have.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Lowers the largest memory to `bytes`, if that is less.
    pub(crate) fn lower(&mut self, bytes: u64) {
        self.memory_bytes = self.memory_bytes.min(bytes);
    }

    /// Reserves `bytes` more of the function's and the node's memory budget.
    fn reserve(&mut self, bytes: u64) -> bool {
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
        if !Limits::fits(desired, self.memory_bytes) {
            self.denied = Some(Limit::Memory);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The engine refuses it, by the module's own limit.
            return Ok(true);
        }
        if !self.reserve(u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX)) {
            self.denied = Some(Limit::TotalMemory);
            return Ok(false);
        }
        self.memory_used = self.memory_used.saturating_add(desired.saturating_sub(current));
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
