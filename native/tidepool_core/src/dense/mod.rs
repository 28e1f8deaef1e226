//! Memories and stacks of the dense engine: slots of two slabs, each one mapping of address space.
//!
//! An instance of the fast engine takes several mappings of the process, of which the kernel allows 65,530 in all, and so
//! ends at some thousands whatever the memory. Here a slot is a part of a mapping that exists anyway: a hundred thousand
//! guests fit, at the price of a bounds check at each access to memory, for no guard pages follow one.
//!
//! All that is unsafe about it is in here: [`os`] holds the system calls, [`slab`] lends slots, [`memory`] and [`stack`]
//! hand them to wasmtime. [`capacity`] finds how many the machine has room for.

mod capacity;
mod high_water;
mod memory;
mod os;
mod slab;
mod slabs;
mod stack;

pub(crate) use slab::SlabError;
pub(crate) use slabs::Slabs;

/// Most elements of a table. Tables are no part of a slab: larger ones would each be a mapping of their own.
pub(crate) const MAX_TABLE_ELEMENTS: u32 = 10_000;
