//! Data of a component in its guest's store.

use std::sync::Arc;

use wasmtime::component::{Instance, ResourceTable};
use wasmtime_wasi::WasiCtx;

use crate::abi::interface::Interface;

/// The slot of components.
#[derive(Default)]
pub(crate) struct ComponentSlot {
    /// The guest, and what of it can be called.
    pub(super) guest: Option<(Instance, Arc<Interface>)>,
    /// The context of its imports, once it has called one.
    pub(super) wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}
