//! The table of a guest's handles.

use wasmtime::StoreContextMut;
use wasmtime::component::ResourceTable;

use crate::abi::slots::State;

/// Most handles of the host's that any guest may have at once: streams, pollables and the like.
const MOST_HANDLES: u64 = 1_000;

/// How many each may have, however little memory.
const LEAST_HANDLES: u64 = 64;

/// A guest has one for so many bytes of its memory.
const HANDLE_BYTES: u64 = 64 << 10;

/// How many handles a guest of so much memory may have at once. What is behind them counts where it is made.
pub(super) fn most_handles(memory_bytes: u64) -> usize {
    let handles = (memory_bytes / HANDLE_BYTES).clamp(LEAST_HANDLES, MOST_HANDLES);
    usize::try_from(handles).unwrap_or(usize::MAX)
}

/// Most and fewest pollables of streams, and how many bytes of its memory a guest has one for. A walk over the most takes some 3 ms.
const MOST_POLLABLES: u64 = 256 << 10;
const LEAST_POLLABLES: u64 = 16 << 10;
const POLLABLE_MEMORY_BYTES: u64 = 4 << 10;

/// How many pollables of streams a guest of so much memory may have at once, beside its other handles: those of a body of twice as many bytes,
/// where each piece of 8 KiB has one.
pub(super) fn most_pollables(memory_bytes: u64) -> usize {
    let pollables = (memory_bytes / POLLABLE_MEMORY_BYTES).clamp(LEAST_POLLABLES, MOST_POLLABLES);
    usize::try_from(pollables).unwrap_or(usize::MAX)
}

/// What of its handles is left for what a guest needs to close something, and to wait until it may.
const SPARE_HANDLES: usize = 8;

/// Has the guest room for so many handles more? Asked before others decide how many it gets: without room it is told so, and not stopped.
pub(super) fn has_room(store: &mut StoreContextMut<'_, State>, handles: usize) -> bool {
    let table = table_of(store);
    table.iter_mut().count() + handles + SPARE_HANDLES <= table.max_capacity()
}

pub(super) fn table_of<'a>(store: &'a mut StoreContextMut<'_, State>) -> &'a mut ResourceTable {
    &mut store.data_mut().component_context().table
}
