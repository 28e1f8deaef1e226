//! Data of ABIs in a store: each ABI has a slot.

use std::any::Any;
use std::sync::Arc;

use super::clock::Clock;
use super::component::data::ComponentSlot;
use super::guest::Guest;
use super::lunatic::data::LunaticSlot;
use super::plain::data::PlainSlot;
use super::wapc::data::WapcSlot;
use super::wasi::data::WasiSlot;

/// Data of a guest's store.
pub(crate) type State = crate::store::data::State<Slots>;

/// The slots. Slots that a guest's ABI does not use are empty and own no memory.
#[derive(Default)]
pub(crate) struct Slots {
    pub(in crate::abi) wapc: WapcSlot,
    /// Guests of all ABIs may use it.
    pub(in crate::abi) wasi: WasiSlot,
    /// The process that the guest is, if it is one, whatever its ABI.
    pub(crate) guest: Option<Arc<Guest>>,
    pub(in crate::abi) lunatic: LunaticSlot,
    pub(in crate::abi) plain: PlainSlot,
    pub(in crate::abi) component: ComponentSlot,
    /// The monotonic clock, where it does not begin with the first import that reads it.
    pub(crate) clock: Option<Clock>,
    /// For ABIs that have no slot of their own here.
    #[cfg_attr(not(test), expect(dead_code, reason = "the built-in ABIs have one, and that of a test has none"))]
    pub(crate) other: Option<Box<dyn Any + Send + Sync>>,
}
