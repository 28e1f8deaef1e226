//! Data of ABIs in a store: each ABI has a slot.

use std::any::Any;
use std::sync::Arc;

use super::clock::Clock;
use super::component::data::ComponentSlot;
use super::extism::data::ExtismSlot;
use super::files::open::Files;
use super::guest::Guest;
use super::interface::Lifting;
use super::lunatic::data::{Data, LunaticSlot};
use super::plain::data::PlainSlot;
use super::wapc::data::WapcSlot;
use super::wasi::data::WasiSlot;
use crate::net::access::Access;
use crate::os::drop_thread::is_large;
use crate::recording::outside::packed::Kept;

/// Data of a guest's store.
pub(crate) type State = crate::store::data::State<Slots>;

/// The slots. Slots that a guest's ABI does not use are empty and own no memory.
#[derive(Default)]
pub(crate) struct Slots {
    pub(in crate::abi) wapc: WapcSlot,
    /// Guests of all ABIs may use it.
    pub(in crate::abi) wasi: WasiSlot,
    /// The folders of a process, and what it has open in them; `None` when it has none. Boxed, for guests without it move the
    /// state, too.
    pub(in crate::abi) files: Option<Box<Files>>,
    /// The process that the guest is, if it is one, whatever its ABI.
    pub(crate) guest: Option<Arc<Guest>>,
    /// What a guest that is no process may do with the network, if anything.
    pub(crate) access: Option<Arc<Access>>,
    pub(in crate::abi) lunatic: LunaticSlot,
    pub(in crate::abi) plain: PlainSlot,
    pub(in crate::abi) component: ComponentSlot,
    pub(in crate::abi) extism: ExtismSlot,
    /// The monotonic clock, where it does not begin with the first import that reads it.
    pub(crate) clock: Option<Clock>,
    /// For ABIs that have no slot of their own here.
    #[cfg_attr(not(test), expect(dead_code, reason = "the built-in ABIs have one, and that of a test has none"))]
    pub(crate) other: Option<Box<dyn Any + Send + Sync>>,
}

impl Slots {
    /// Has a process find its folders; what it opens in them counts in its program's account.
    pub(in crate::abi) fn begin_files(&mut self, guest: &Guest) {
        let folders = &guest.config.folders;
        self.files = (!folders.is_empty()).then(|| Box::new(Files::new(folders, &guest.program.account)));
    }
}

impl Slots {
    /// How many things are dropped with it, each by itself: a socket or a module takes as long as many, and counts as so many.
    pub(crate) fn things(&mut self) -> usize {
        let lunatic = self.lunatic.get().map_or(0, Data::things);
        lunatic + self.component.things() + self.files.as_ref().map_or(0, |files| files.len())
    }

    /// It has much that is dropped with it.
    #[cfg(test)]
    pub(crate) fn fill(&mut self) {
        self.lunatic.data().fill();
    }

    /// Has no stack any more beside the guest's own.
    pub(crate) fn give_stack_back(&mut self) {
        self.lunatic.give_stack_back();
    }

    /// What of the guest, a process, can be packed.
    ///
    /// # Errors
    /// What it has that can't.
    pub(crate) fn kept(&self) -> Result<Kept, &'static str> {
        if self.files.is_some() {
            return Err("folders");
        }
        if self.wasi.closed {
            return Err("standard streams that it has closed or renumbered");
        }
        if self.guest.as_ref().is_some_and(|guest| guest.program.stdio.is_some()) {
            return Err("standard input and output of its own");
        }
        self.lunatic.get().map_or_else(|| Ok(Kept::default()), Data::kept)
    }

    /// Has what was packed again; `false` when there can't have been that.
    pub(crate) fn restore(&mut self, kept: Kept) -> bool {
        kept == Kept::default() || self.lunatic.data().restore(kept)
    }
}

impl State {
    /// Does dropping it, with its instance, take long?
    pub(crate) fn is_large(&mut self) -> bool {
        let State { meter, abi, .. } = self;
        is_large(meter.memory_used.saturating_add(meter.table_bytes), || abi.things())
    }

    /// Notes how many tables of handles the guests of a component have, and what of them takes long to lift, before they run.
    pub(crate) fn set_component(&mut self, handle_tables: u64, lifting: Lifting) {
        let slot = &mut self.abi.component;
        (slot.handle_tables, slot.lifting) = (handle_tables, lifting);
    }

    /// Notes that the instance is kept by its owner from call to call.
    pub(crate) fn keep(&mut self) {
        self.abi.component.keep();
    }

    /// Whether the guest has closed standard input or output, or has given them other numbers.
    pub(crate) fn has_closed_streams(&self) -> bool {
        self.abi.wasi.closed
    }

    /// What the guest's monotonic clock says, in ns; 0 where it has none of its own.
    pub(crate) fn clock_ns(&self) -> u64 {
        self.abi.clock.map_or(0, |clock| clock.ns())
    }

    /// The interfaces of which a component has handles that no image of it holds; `None` when it has none.
    pub(crate) fn left_handles(&mut self) -> Option<String> {
        self.abi.component.left()
    }

    /// Leaves the call that the store has.
    pub(crate) fn leave_call(&mut self) {
        self.call = None;
        self.abi.component.leave_call();
    }
}
