//! Data of a component in its guest's store.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasmtime::component::{Instance, ResourceTable};
use wasmtime_wasi::WasiCtx;

use super::files::asker::Asker;
use super::http::HttpContext;
use super::keyvalue::snapshots::Snapshots;
use super::resources::kept::{Held, Hosted};
use crate::abi::interface::Interface;
use crate::abi::interface::Lifting;
use crate::abi::wasi::data::Streams;
use crate::store::host_share::HostShare;

/// The slot of components.
#[derive(Default)]
pub(crate) struct ComponentSlot {
    /// The guest, and what of it can be called.
    pub(super) guest: Option<(Instance, Arc<Interface>)>,
    /// Is it made? While it is not, nobody would answer what it asks of its driver.
    pub(in crate::abi) is_bound: bool,
    /// How many tables of handles its guests have.
    pub(in crate::abi) handle_tables: u64,
    /// What of them takes long to lift.
    pub(in crate::abi) lifting: Lifting,
    /// The context of its imports, once it has called one.
    pub(super) context: Option<Box<ImportContext>>,
    /// How streams of its files ask the host, once it has one.
    pub(super) asker: Option<Asker>,
    /// The streams of a command that is called.
    pub(super) streams: Option<Streams>,
    /// Of an instance that is kept: its resources that callers have.
    pub(super) held: Option<Box<Held>>,
    /// The host's resources that the guest has.
    pub(super) hosted: Option<Box<Hosted>>,
    /// What its last import was given and has returned, where the engine has that as values of its own.
    returned: Option<Box<Returned>>,
    /// What passes between the host and an accessor that it calls.
    pub(in crate::abi) passing: Option<Box<Passing>>,
    /// How many handles there are of those that each instance of actors has from its beginning.
    pub(super) standing: usize,
}

/// What values are counted as: arguments, and a result.
type Returned = [Option<HostShare>; 2];

/// So many handles take longer to drop than to give to another thread.
const MANY_HANDLES: usize = 4 << 10;

impl ComponentSlot {
    /// Notes that the instance is kept: its callers may have its resources.
    pub(in crate::abi) fn keep(&mut self) {
        if self.is_bound {
            self.held.get_or_insert_default();
        }
    }

    /// The guest, once it is made.
    pub(in crate::abi) fn instance(&self) -> Option<Instance> {
        self.guest.as_ref().map(|(instance, _interface)| *instance)
    }

    /// How many things are dropped with it: what the host keeps for its handles, of which it looks at no more than are many, and resources
    /// of the host's, which is told.
    pub(in crate::abi) fn things(&mut self) -> usize {
        let handles = self.context.as_mut().map_or(0, |context| context.table.iter_mut().take(MANY_HANDLES).count());
        handles + self.hosted.as_ref().map_or(0, |hosted| hosted.len())
    }

    /// Counts what an import was given and returns until the guest has that. Nobody is told when the engine drops such values, so it is
    /// until [`ComponentSlot::has_result`].
    pub(super) fn give_result(&mut self, shares: Returned) {
        let is_counted = shares.iter().any(Option::is_some);
        self.returned = is_counted.then(|| Box::new(shares));
    }

    /// Notes that the guest has what its last import has returned: it asks for something else, or its call is over.
    pub(super) fn has_result(&mut self) {
        self.returned = None;
    }

    /// Leaves the call by which the host was asked, and gives back what is behind no handle any more.
    pub(in crate::abi) fn leave_call(&mut self) {
        self.has_result();
        if let Some(context) = &mut self.context {
            context.http.content.settle(&mut context.table);
        }
        if let Some(asker) = &self.asker {
            asker.leave();
        }
    }
}

/// What the host's imports keep for a guest.
pub(super) struct ImportContext {
    pub(super) wasi: WasiCtx,
    pub(super) http: HttpContext,
    /// How much its handles of swaps keep.
    pub(super) snapshots: Snapshots,
    /// Those of its handles that are pollables of streams, by their numbers.
    pub(super) pollables: BTreeSet<u32>,
    /// How many of these it may have.
    pub(super) most_pollables: usize,
    /// How many handles it may have beside them.
    pub(super) handles: usize,
    /// The guest's handles of all of them.
    pub(super) table: ResourceTable,
}

/// Looks at a memory, and at the globals beside it, as 64 bits each.
pub(crate) type Look = Box<dyn FnOnce(&[u8], &[u64]) + Send + Sync>;

/// What passes between an accessor and the host, while the host has called it.
#[derive(Default)]
pub(crate) struct Passing {
    pub(in crate::abi) look: Option<Look>,
    /// What the accessor has told of the globals.
    pub(in crate::abi) told: Vec<u64>,
    /// What it is told of them.
    pub(in crate::abi) given: Vec<u64>,
}
