//! An instance that its owner keeps between calls and lends to one call at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::error::CallError;
use crate::instance::admission::Permit;
use crate::instance::live::Instance;

/// Where the instance is.
#[derive(Default)]
pub(crate) struct Held(Mutex<Place>);

/// An instance, and the permit of its function's cap.
type Found = (Instance, Option<Permit>);

#[derive(Default)]
enum Place {
    /// It has not been made yet.
    #[default]
    Empty,
    Idle(Found),
    /// A call has it.
    Lent,
    /// A call was stopped: it is gone.
    Spent,
}

impl Held {
    /// Lends the instance to a call.
    ///
    /// # Errors
    /// [`CallError::InstanceBusy`] when another call has it, [`CallError::InstanceSpent`] when it is spent.
    pub(super) fn lend(&self) -> Result<Loan<'_>, CallError> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, Place::Lent) {
            Place::Empty => Ok(Loan { held: self, found: None, end: Place::Empty }),
            Place::Idle(found) => Ok(Loan { held: self, found: Some(found), end: Place::Spent }),
            Place::Lent => Err(CallError::InstanceBusy),
            Place::Spent => {
                *place = Place::Spent;
                Err(CallError::InstanceSpent)
            }
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        matches!(*self.place(), Place::Spent)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instance while a call has it. However the call ends, its owner gets back what is left.
pub(super) struct Loan<'a> {
    held: &'a Held,
    found: Option<Found>,
    end: Place,
}

impl Loan<'_> {
    /// The instance, if it was made before.
    pub(super) fn take(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// It serves from now on: if the call is stopped, nothing is given back.
    pub(super) fn spend(&mut self) {
        self.end = Place::Spent;
    }

    pub(super) fn give_back(&mut self, instance: Instance, place: Option<Permit>) {
        self.end = Place::Idle((instance, place));
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.held.place() = std::mem::replace(&mut self.end, Place::Spent);
    }
}
