//! What grows on the host for a guest's call, counted as its function's for as long as it is there.

use std::sync::Arc;

use super::context::FunctionContext;
use super::data::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::os::trim::given_back;
use crate::recording::taped::Share;

/// Bytes that are counted as nobody's: calls have no use for an account of less.
const FREE_BYTES: usize = 64 << 10;

/// So many bytes of a function's account on the host, until it is dropped.
pub(crate) struct HostShare {
    function: Arc<FunctionContext>,
    held: usize,
}

impl HostShare {
    pub(crate) fn new(function: &Arc<FunctionContext>) -> Self {
        HostShare { function: Arc::clone(function), held: 0 }
    }

    /// Makes it one of so many bytes, if it is less; `false` when there is no room for them.
    pub(crate) fn raise_to(&mut self, bytes: usize) -> bool {
        self.raise(bytes, |function, more, _held| function.hold_on_host(more))
    }

    /// The same where `hold` takes what it has too few.
    fn raise(&mut self, bytes: usize, hold: impl FnOnce(&FunctionContext, usize, usize) -> bool) -> bool {
        if bytes <= self.held.max(FREE_BYTES) {
            return true;
        }
        let held = hold(&self.function, bytes - self.held, self.held);
        if held {
            self.held = bytes;
        }
        held
    }

    /// Makes it one of so many bytes, if it is more.
    pub(crate) fn lower_to(&mut self, bytes: usize) {
        // Most calls have none, and are to write nothing that all cores share.
        if let Some(less) = self.held.checked_sub(bytes).filter(|less| *less > 0) {
            self.function.release_on_host(less);
            self.held = bytes;
            given_back(less);
        }
    }

    /// Makes it enough for so many bytes in all, of which there will be `most`, in steps that double; `false` when there is no room for
    /// them.
    pub(crate) fn grow_to(&mut self, bytes: usize, most: usize) -> bool {
        bytes <= self.held.max(FREE_BYTES) || self.raise_to(bytes.saturating_mul(2).min(most.max(bytes)))
    }

    /// That there was no room.
    pub(crate) fn exceeded(&self) -> CallError {
        CallError::limit(Limit::TotalMemory, self.function.host_limit())
    }

    /// Gives it back.
    pub(crate) fn release(&mut self) {
        self.lower_to(0);
    }
}

impl Share for HostShare {
    fn raise_to(&mut self, bytes: usize) -> bool {
        self.raise(bytes, FunctionContext::hold_spare_on_host)
    }

    fn has_some(&self) -> bool {
        self.held > 0
    }
}

impl Drop for HostShare {
    fn drop(&mut self) {
        self.release();
    }
}

impl<A> State<A> {
    /// Makes a share one of so many bytes, if that is more than it has, and than is nobody's. What was refused is on the tape.
    ///
    /// # Errors
    /// Stops the guest when there is no room for them, or was none where its call is replayed.
    pub(crate) fn hold_on_host(&mut self, share: &mut Option<HostShare>, bytes: usize) -> wasmtime::Result<()> {
        if bytes <= FREE_BYTES {
            return Ok(());
        }
        let function = Arc::clone(&self.function);
        self.refuse_on_host(|| !share.get_or_insert_with(|| HostShare::new(&function)).raise_to(bytes))
    }

    /// Whether there is room in a share for so many bytes, of what is yet to be more: the tape has nothing of it before
    /// [`State::hold_on_host`] or [`State::refuse_on_host`] end it.
    pub(crate) fn has_on_host(&self, share: &mut Option<HostShare>, bytes: usize) -> bool {
        if bytes <= FREE_BYTES {
            return true;
        }
        let mut has_room = || share.get_or_insert_with(|| HostShare::new(&self.function)).raise_to(bytes);
        // The tape goes before its guest does.
        has_room() || self.tape.as_ref().is_some_and(|tape| tape.gives_way()) && has_room()
    }

    /// Stops a guest that is refused room on the host; where its call is replayed, one that was.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn refuse_on_host(&mut self, mut is_refused: impl FnMut() -> bool) -> wasmtime::Result<()> {
        let is_refused = match &self.tape {
            Some(tape) => tape.refuses(is_refused),
            None => is_refused(),
        };
        if is_refused {
            self.meter.denied = Some(Limit::TotalMemory);
            return Err(wasmtime::Error::msg(
                "there is no room on the host for what the guest passes to it, or is passed",
            ));
        }
        Ok(())
    }
}
