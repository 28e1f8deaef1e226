//! What an instance may have whose start functions run for a snapshot.

use wasmtime::ResourceLimiter;

use crate::base::limits::Limits;
use crate::base::origin::Refusal;

/// Largest memory that is looked at.
pub(super) const MAX_MEMORY_BYTES: usize = 64 << 20;

/// What an instance of the function may have; and no more memory than is looked at, for none of it is of the budget that all instances
/// share.
pub(super) struct Bounds {
    memory_bytes: usize,
    table_elements: usize,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        Bounds {
            memory_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            table_elements: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
        }
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        // What an instance has, this one has as well or it comes to nothing: its guest is never told otherwise.
        match desired {
            over if over > self.memory_bytes => Ok(false),
            over if over > MAX_MEMORY_BYTES => Err(too_large(over, MAX_MEMORY_BYTES).into()),
            _ => Ok(true),
        }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
    }
}

/// Why there is no snapshot of so many bytes.
pub(super) fn too_large(bytes: usize, allowed: usize) -> Refusal {
    Refusal::TooLarge { bytes, allowed }
}
