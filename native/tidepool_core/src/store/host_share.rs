//! What grows on the host for a guest's call, counted as its function's for as long as it is there.

use std::sync::Arc;

use super::context::FunctionContext;

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
        if bytes <= self.held.max(FREE_BYTES) {
            return true;
        }
        let held = self.function.hold_on_host(bytes - self.held);
        if held {
            self.held = bytes;
        }
        held
    }

    /// Makes it enough for so many bytes in all, of which there will be `most`, in steps that double; `false` when there is no room for
    /// them.
    pub(crate) fn grow_to(&mut self, bytes: usize, most: usize) -> bool {
        bytes <= self.held.max(FREE_BYTES) || self.raise_to(bytes.saturating_mul(2).min(most.max(bytes)))
    }

    /// Gives it back.
    pub(crate) fn release(&mut self) {
        self.function.release_on_host(std::mem::take(&mut self.held));
    }
}

impl Drop for HostShare {
    fn drop(&mut self) {
        self.release();
    }
}
