//! Stacks in slots.

use std::ops::Range;
use std::sync::Arc;

use wasmtime::{StackCreator, StackMemory};

use super::os::PAGE_BYTES;
use super::slab::{Slab, Slot};

/// Makes stacks for wasmtime.
pub(super) struct Stacks(pub(super) Arc<Slab>);

// SAFETY: a stack is a slot of its own, which reads as zero, starts and ends at a page and lies between two guard pages.
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, bytes: usize, _zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        let mut slot = self.0.lend()?;
        if bytes > slot.len() {
            wasmtime::bail!("a stack of {bytes} bytes does not fit into a slot of {}", slot.len());
        }
        slot.use_up_to(slot.len());
        Ok(Box::new(Stack(slot)))
    }
}

struct Stack(Slot);

// SAFETY: as above; the slot is this stack's alone until it is dropped.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.0.start().wrapping_add(self.0.len())
    }

    fn range(&self) -> Range<usize> {
        self.0.start().addr()..self.top().addr()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.0.start().wrapping_sub(PAGE_BYTES)..self.0.start()
    }
}
