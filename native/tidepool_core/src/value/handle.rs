//! Handles of resources, as callers and the host's handlers have them: a guest's, which lives in one instance, or one of the host's,
//! which a guest may be given.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle of a resource. Clones are the same one.
#[derive(Clone)]
pub struct Handle(Arc<Of>);

enum Of {
    Guest(GuestHandle),
    Host(HostHandle),
}

impl Handle {
    /// One of a resource that the host has, by a number of its own. `end` is called once: when a guest drops the resource, when the
    /// instance ends that has it, or when nobody has the handle any more; on any thread, and it must not block.
    #[must_use]
    pub fn host(id: u64, end: Box<dyn FnOnce() + Send>) -> Self {
        let state = Mutex::new(HostState { label: None, place: Place::Host, end: Some(end) });
        Handle(Arc::new(Of::Host(HostHandle { id, state })))
    }

    /// One of a resource that an instance has.
    pub(crate) fn guest(home: &Arc<Home>, index: u64, kind: usize, name: &Arc<str>) -> Self {
        let (home, name) = (Arc::clone(home), Arc::clone(name));
        Handle(Arc::new(Of::Guest(GuestHandle { home, index, kind, name })))
    }

    /// The whole name of its type, with that of its interface before `#`; a resource of the host's has none before a guest has had it.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        match &*self.0 {
            Of::Guest(guest) => Some(Arc::clone(&guest.name)),
            Of::Host(host) => host.state().label.clone(),
        }
    }

    /// The host's number of a resource that is the host's.
    #[must_use]
    pub fn host_id(&self) -> Option<u64> {
        self.as_host().map(|host| host.id)
    }

    /// Ends a resource of the host's that no guest has. Another is left as it is.
    pub fn end_own(&self) {
        if let Of::Host(host) = &*self.0 {
            host.end(|place| place == Place::Host);
        }
    }

    /// What tells it from all others while it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn as_guest(&self) -> Option<&GuestHandle> {
        match &*self.0 {
            Of::Guest(guest) => Some(guest),
            Of::Host(_) => None,
        }
    }

    pub(crate) fn as_host(&self) -> Option<&HostHandle> {
        match &*self.0 {
            Of::Host(host) => Some(host),
            Of::Guest(_) => None,
        }
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Handle({})", self.name().as_deref().unwrap_or("of the host's"))
    }
}

/// A handle of a resource that is an instance's.
pub(crate) struct GuestHandle {
    /// Whose it is.
    pub(crate) home: Arc<Home>,
    pub(crate) index: u64,
    /// The place of its type among those of its component.
    pub(crate) kind: usize,
    name: Arc<str>,
}

impl Drop for GuestHandle {
    fn drop(&mut self) {
        self.home.released().push(self.index);
    }
}

/// An instance, for the handles of its resources: what they are bound to, and where those are told that nobody has any more.
#[derive(Default)]
pub(crate) struct Home {
    released: Mutex<Vec<u64>>,
}

impl Home {
    /// Handles that nobody has any more, since the last time that this was asked.
    pub(crate) fn take_released(&self) -> Vec<u64> {
        std::mem::take(&mut self.released())
    }

    fn released(&self) -> MutexGuard<'_, Vec<u64>> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle of a resource that is the host's.
pub(crate) struct HostHandle {
    id: u64,
    state: Mutex<HostState>,
}

struct HostState {
    /// What it is for guests, from the first one on that has had it.
    label: Option<Arc<str>>,
    place: Place,
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// Who has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Guest,
    Nobody,
}

impl HostState {
    fn suits(&self, label: &str) -> Result<(), String> {
        match (&self.label, self.place) {
            (_, Place::Nobody) => Err("it is a resource that was dropped".into()),
            (_, Place::Guest) => Err("it is a resource that a guest has".into()),
            (Some(own), Place::Host) if &**own != label => Err(format!("it has to be a {label}, and is a {own}")),
            (_, Place::Host) => Ok(()),
        }
    }
}

impl HostHandle {
    /// May a guest be given it, as a resource of this type?
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn suits(&self, label: &str) -> Result<(), String> {
        self.state().suits(label)
    }

    /// Gives it to a guest, as a resource of this type.
    ///
    /// # Errors
    /// Why it can't be.
    pub(crate) fn give(&self, label: &str) -> Result<(), String> {
        // Under one lock: another guest may be given it at the same time.
        let mut state = self.state();
        state.suits(label)?;
        state.label.get_or_insert_with(|| label.into());
        state.place = Place::Guest;
        Ok(())
    }

    /// Has it be the host's again.
    pub(crate) fn take_back(&self) {
        let mut state = self.state();
        if state.place == Place::Guest {
            state.place = Place::Host;
        }
    }

    /// The guest that has it has dropped it, or is gone.
    pub(crate) fn drop_by_guest(&self) {
        self.end(|place| place == Place::Guest);
    }

    fn end(&self, which: impl FnOnce(Place) -> bool) {
        let mut state = self.state();
        if !which(state.place) {
            return;
        }
        state.place = Place::Nobody;
        let end = state.end.take();
        drop(state);
        if let Some(end) = end {
            end();
        }
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        self.end(|_place| true);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn of_two_guests_that_are_given_a_resource_at_the_same_time_one_has_it() {
        const ROUNDS: usize = 20_000;
        let handles: Vec<Handle> = (0..ROUNDS as u64).map(|id| Handle::host(id, Box::new(|| ()))).collect();
        let (given, start) = (AtomicUsize::new(0), Barrier::new(2));
        std::thread::scope(|scope| {
            for _guest in 0..2 {
                scope.spawn(|| {
                    for handle in &handles {
                        start.wait();
                        given.fetch_add(usize::from(handle.as_host().unwrap().give("cart").is_ok()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(given.into_inner(), ROUNDS);
    }
}
