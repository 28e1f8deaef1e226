//! The resources that go with an instance: its own, of which callers have handles, and the host's, which it has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wasmtime::component::ResourceAny;

use crate::base::error::CallError;
use crate::value::{Handle, Home};

/// Handles of one instance that its callers may have before calls that return more are refused.
const MAX_HELD: usize = 16_384;
/// The host's resources that a guest may have at once.
pub(in crate::abi::component) const MAX_HOSTED: usize = 4_096;

/// The resources of an instance that is kept, of which its callers have handles.
#[derive(Default)]
pub(in crate::abi::component) struct Held {
    home: Arc<Home>,
    next: u64,
    resources: HashMap<u64, ResourceAny>,
}

impl Held {
    /// May callers have more of them?
    ///
    /// # Errors
    /// [`CallError::Arguments`] when they have too many.
    pub(in crate::abi::component) fn room(&self) -> Result<(), CallError> {
        if self.resources.len() < MAX_HELD {
            return Ok(());
        }
        let message = format!("its callers have {MAX_HELD} resources of the instance: drop some of them before");
        Err(CallError::Arguments { path: String::new(), message })
    }

    pub(super) fn add(&mut self, resource: ResourceAny, kind: usize, name: &Arc<str>) -> Handle {
        let index = self.next;
        self.next += 1;
        self.resources.insert(index, resource);
        Handle::guest(&self.home, index, kind, name)
    }

    pub(super) fn remove(&mut self, index: u64) -> Option<ResourceAny> {
        self.resources.remove(&index)
    }

    /// It was not given away after all.
    pub(super) fn put_back(&mut self, index: u64, resource: ResourceAny) {
        self.resources.insert(index, resource);
    }

    /// Handles that nobody has any more.
    pub(super) fn take_released(&self) -> Vec<u64> {
        self.home.take_released()
    }

    /// The resource of a handle, and its type's place; not that of another instance's, nor of one that is gone.
    pub(super) fn find(&self, handle: &Handle) -> Result<(u64, usize, ResourceAny), String> {
        let Some(guest) = handle.as_guest() else { return Err("it has to be a resource of the guest's".into()) };
        if !Arc::ptr_eq(&guest.home, &self.home) {
            return Err("it is a resource of another instance".into());
        }
        match self.resources.get(&guest.index) {
            Some(resource) => Ok((guest.index, guest.kind, *resource)),
            None => Err("it is a resource that was dropped, or given away".into()),
        }
    }
}

/// Why a guest is given no more of the host's.
pub(super) fn too_many() -> String {
    format!("the guest has {MAX_HOSTED} resources of the host's, and may have no more")
}

/// The host's resources that a guest has, by their numbers there. All end with it, but for those that its caller lends.
#[derive(Default)]
pub(in crate::abi::component) struct Hosted {
    next: u32,
    handles: HashMap<u32, Handle>,
    lent: HashSet<u32>,
}

impl Hosted {
    pub(in crate::abi::component) fn len(&self) -> usize {
        self.handles.len()
    }

    /// How many more the guest may have.
    pub(in crate::abi::component) fn room(&self) -> usize {
        MAX_HOSTED.saturating_sub(self.handles.len())
    }

    pub(super) fn give(&mut self, handle: &Handle, label: &str) -> Result<u32, String> {
        let Some(host) = handle.as_host() else { return Err(not_hosts(label)) };
        if self.room() == 0 {
            return Err(too_many());
        }
        host.give(label)?;
        while self.handles.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        self.handles.insert(self.next, handle.clone());
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        Ok(number)
    }

    /// Lends a resource to the guest until [`Hosted::take_lent`].
    pub(super) fn lend(&mut self, handle: &Handle, label: &str) -> Result<u32, String> {
        let number = self.give(handle, label)?;
        self.lent.insert(number);
        Ok(number)
    }

    /// Has one that was lent be the host's again.
    pub(super) fn take_lent(&mut self, number: u32) {
        self.lent.remove(&number);
        self.show(number, true);
    }

    /// The guest has dropped it.
    pub(in crate::abi::component) fn drop_one(&mut self, number: u32) {
        if let Some(host) = self.handles.remove(&number).as_ref().and_then(Handle::as_host) {
            host.drop_by_guest();
        }
    }

    /// The guest has given it to the host, or lent.
    pub(super) fn show(&mut self, number: u32, owned: bool) -> Option<Handle> {
        if !owned {
            return self.handles.get(&number).cloned();
        }
        let handle = self.handles.remove(&number)?;
        handle.as_host()?.take_back();
        Some(handle)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        for (number, handle) in &self.handles {
            match handle.as_host() {
                Some(host) if self.lent.contains(number) => host.take_back(),
                Some(host) => host.drop_by_guest(),
                None => {}
            }
        }
    }
}

pub(super) fn not_hosts(label: &str) -> String {
    format!("it has to be a {label} of the host's, and is a resource of a guest's")
}
