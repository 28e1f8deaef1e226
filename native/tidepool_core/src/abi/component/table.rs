//! The table of a guest's handles.

use wasmtime::StoreContextMut;
use wasmtime::component::ResourceTable;

use crate::abi::slots::State;

/// Most handles of the host's that a guest may have at once: streams, pollables and the like. What is behind each is bounded, too, so
/// that all of them have less than its memory may have.
pub(super) const MAX_HANDLES: usize = 1_000;

pub(super) fn table_of<'a>(store: &'a mut StoreContextMut<'_, State>) -> &'a mut ResourceTable {
    &mut store.data_mut().component_context().table
}
