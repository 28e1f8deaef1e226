//! Data of ABIs in a store: each ABI has a slot.

use std::any::Any;

use super::wapc::data::WapcSlot;
use super::wasi::data::WasiSlot;

/// Data of a guest's store.
pub(crate) type State = crate::store::data::State<Slots>;

/// The slots. Slots that a guest's ABI does not use are empty and own no memory.
#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) wapc: WapcSlot,
    /// waPC guests may use it, too.
    pub(crate) wasi: WasiSlot,
    /// For ABIs that have no slot of their own here.
    #[cfg_attr(not(test), expect(dead_code, reason = "both built-in ABIs have one, and the third is a test's"))]
    pub(crate) other: Option<Box<dyn Any + Send + Sync>>,
}
