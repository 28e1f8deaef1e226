//! An instance of a function that its caller owns.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::base::error::CallError;
use crate::base::request::Request;
use crate::call::held::Held;
use crate::call::target::Target;
use crate::call::task::Task;
use crate::image::reader::Image;
use crate::instance::inspect::{self, Export};
use crate::instance::live::Instance;
use crate::instance::owners::Owned;
use crate::instance::seen::Imaged;
use crate::store::host_share::HostShare;
use crate::value::Value;

/// An instance that lives from its first call until it is dropped or one of its calls is stopped. Meanwhile it counts as a
/// live instance and is never evicted, only [asked for](OwnedInstance::on_wanted). Its memory, globals and tables live on from call to call.
pub struct OwnedInstance {
    target: Arc<Target>,
    held: Arc<Held>,
}

impl OwnedInstance {
    pub(super) fn new(target: &Arc<Target>, image: Option<(Image, HostShare)>) -> Self {
        OwnedInstance { target: Arc::clone(target), held: Arc::new(Held::new(image)) }
    }

    /// Has `tell` called when a call finds no room and this instance rests: dropping it then makes room. Those that were not called
    /// lately are asked for first. On any thread; `tell` must not block, nor drop the instance. The first one counts.
    pub fn on_wanted(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.held.set_wanted(tell);
        let owned: Weak<dyn Owned> = Arc::<Held>::downgrade(&self.held);
        if let Some(namespace) = &self.target.namespace {
            namespace.pools.owners.register(Weak::clone(&owned));
        }
        self.target.pools().owners.register(owned);
    }

    /// The runtime of its node's I/O.
    #[must_use]
    pub fn io(&self) -> &tokio::runtime::Handle {
        &self.target.node.io
    }

    /// Whether a payload of this size is within the limit: for callers that have yet to copy it.
    ///
    /// # Errors
    /// As for [`Function::admit`](crate::Function::admit).
    pub fn admit(&self, payload_bytes: usize) -> Result<(), CallError> {
        self.target.admit_payload(payload_bytes)
    }

    /// Prepares a call of the instance, within the limits of its function. The task takes the instance when it is first
    /// driven and gives it back when the guest has come to its end; one that is stopped, or dropped before, ends the
    /// instance too. Meanwhile other calls fail with [`CallError::InstanceBusy`], afterwards with [`CallError::InstanceSpent`].
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested.
    pub fn call(&self, request: Request) -> Result<Task, CallError> {
        let held = Arc::clone(&self.held);
        Task::start(&self.target, request, |call| (self.target.entry.start_held)(call, held))
    }

    /// Prepares a task that makes the instance, unless it is made. Until it is, nothing can be read of it.
    #[must_use]
    pub fn make(&self, timeout: Duration) -> Task {
        Task::start_making(&self.target, Arc::clone(&self.held), timeout)
    }

    /// The size of its memory, in bytes.
    ///
    /// # Errors
    /// [`CallError::NoExport`] when it exports no memory; [`CallError::InstanceBusy`] and [`CallError::InstanceSpent`] as for a call. So
    /// it is for all that look into it.
    pub fn memory_bytes(&self) -> Result<usize, CallError> {
        self.held.with(Instance::memory_bytes)
    }

    /// `read` of so many bytes of its memory.
    ///
    /// # Errors
    /// [`CallError::Arguments`] when they are not all within it.
    pub fn read_memory<T>(&self, offset: u64, length: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, CallError> {
        self.held.with(|instance| instance.read_memory(offset, length, read))
    }

    /// Puts bytes into its memory.
    ///
    /// # Errors
    /// [`CallError::Arguments`] when there is no room for all of them; nothing has changed then.
    pub fn write_memory(&self, offset: u64, bytes: &[u8]) -> Result<(), CallError> {
        self.held.with(|instance| instance.write_memory(offset, bytes))
    }

    /// Has its memory grow by so many pages of 64 KiB; how many it had.
    ///
    /// # Errors
    /// [`CallError::Limit`] when it may not have as many, [`CallError::Arguments`] when its module does not want as many.
    pub fn grow_memory(&self, pages: u64) -> Result<u64, CallError> {
        self.held.with(|instance| instance.grow_memory(pages))
    }

    /// A global that it exports.
    ///
    /// # Errors
    /// [`CallError::NoExport`] when there is none of that name, [`CallError::Arguments`] when it is no number.
    pub fn global(&self, name: &str) -> Result<Value, CallError> {
        self.held.with(|instance| instance.global(name))
    }

    /// Sets a global that it exports.
    ///
    /// # Errors
    /// As of [`OwnedInstance::global`]; [`CallError::Arguments`] when it can't be changed, or is of another type, too.
    pub fn set_global(&self, name: &str, value: &Value) -> Result<(), CallError> {
        self.held.with(|instance| instance.set_global(name, value))
    }

    /// What its module exports.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        inspect::exports(&self.target.module)
    }

    /// What of the instance is not as in a new one of its module, as bytes that one can begin with; none when its memory has more than
    /// `max_bytes`. Takes 10 µs for a small one, and a second for each GiB of memory that it has written to; until then
    /// calls fail with [`CallError::InstanceBusy`]. Whoever gets one keeps it: the next time there is none of the same state, or what
    /// has changed since. It counts as memory of its function's on the host for as long as anybody has it; while it is made there are 48 MiB
    /// at most that nobody counts.
    ///
    /// # Errors
    /// [`CallError::InstanceBusy`] and [`CallError::InstanceSpent`] as for a call; [`CallError::Image`] when the module was not compiled
    /// as that of actors; [`CallError::Limit`] when there is no room for it, after which the next one is whole.
    pub fn image(&self, max_bytes: usize) -> Result<Imaged, CallError> {
        self.held.image(max_bytes)
    }

    /// The image as it is now, whatever the last one held: for whoever keeps it beside the instance's end. `None` when the instance has
    /// not been made, and is to begin without one.
    ///
    /// # Errors
    /// As of [`OwnedInstance::image`].
    pub fn copy(&self) -> Result<Option<Bytes>, CallError> {
        self.held.copy()
    }

    /// Whether it has yet to be made of its image, which takes memory of its function's on the host until then.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.held.has_image()
    }

    /// Whether it was stopped in a call: then it can't be called again.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.held.is_spent()
    }
}
