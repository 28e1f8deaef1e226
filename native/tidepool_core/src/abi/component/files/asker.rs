//! How a stream of a file asks the host: by the call that its guest serves, for as long as that is the guest's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::host_channel::GuestCall;

/// The call by whose driver the host is asked. A guest and all its streams share one.
#[derive(Clone, Default)]
pub(in crate::abi::component) struct Asker(Arc<Mutex<Option<GuestCall>>>);

impl Asker {
    /// Asks by this call from here on, if there is one.
    pub(super) fn enter(&self, call: Option<GuestCall>) {
        if let Some(call) = call {
            *self.slot() = Some(call);
        }
    }

    /// Forgets the call: its guest leaves it.
    pub(in crate::abi::component) fn leave(&self) {
        drop(self.slot().take());
    }

    /// The call, while it is the guest's.
    pub(super) fn call(&self) -> Option<GuestCall> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<GuestCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
