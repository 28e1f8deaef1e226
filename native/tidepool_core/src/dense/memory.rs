//! Linear memories in slots.

use std::sync::Arc;

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use super::slab::{Slab, Slot};

/// Makes memories for wasmtime.
pub(super) struct Memories(pub(super) Arc<Slab>);

// SAFETY: a memory is a slot of its own, which reads as zero, lies between slots of the same kind and never moves. It
// comes without a guard, and the engine is configured to expect none.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved.is_some_and(|bytes| bytes > 0) || guard > 0 {
            return Err("the engine expects guards that a slab's memories don't have".into());
        }
        let mut memory = Memory { slot: self.0.lend().map_err(|error| error.to_string())?, bytes: 0 };
        memory.grow_to(minimum).map_err(|error| error.to_string())?;
        Ok(Box::new(memory))
    }
}

/// A memory that grows within its slot.
struct Memory {
    slot: Slot,
    bytes: usize,
}

// SAFETY: all of the slot can be read and written from the start, so growing it takes nothing but the new size; the slot
// is this memory's alone until it is dropped, and its address does not change.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.slot.len()
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if bytes > self.slot.len() {
            wasmtime::bail!("a memory of {bytes} bytes does not fit into a slot of {}", self.slot.len());
        }
        self.slot.use_up_to(bytes);
        self.bytes = bytes;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.slot.start()
    }
}
