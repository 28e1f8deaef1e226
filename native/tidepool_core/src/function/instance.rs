//! An instance of a function that its caller owns.

use std::sync::Arc;

use crate::base::error::CallError;
use crate::base::request::Request;
use crate::call::held::Held;
use crate::call::target::Target;
use crate::call::task::Task;

/// An instance that lives from its first call until it is dropped or one of its calls is stopped. Meanwhile it counts as a
/// live instance and is never evicted. Its memory, globals and tables live on from call to call.
pub struct OwnedInstance {
    target: Arc<Target>,
    held: Arc<Held>,
}

impl OwnedInstance {
    pub(super) fn new(target: &Arc<Target>) -> Self {
        OwnedInstance { target: Arc::clone(target), held: Arc::default() }
    }

    /// Prepares a call of the instance, within the limits of its function. The task takes the instance when it is first
    /// driven and gives it back when the guest has come to its end; one that is stopped, or dropped before, ends the
    /// instance too. Meanwhile other calls fail with [`CallError::InstanceBusy`], afterwards with [`CallError::InstanceSpent`].
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested.
    pub fn call(&mut self, request: Request) -> Result<Task, CallError> {
        let held = Arc::clone(&self.held);
        Task::start(&self.target, request, |call, request| (self.target.entry.start_held)(call, request, held))
    }

    /// Whether it was stopped in a call: then it can't be called again.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.held.is_spent()
    }
}
