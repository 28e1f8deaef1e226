//! How many bytes a guest's handles of swaps keep: memory of the guest's, which it is charged with for as long as it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most of them.
pub(super) const MAX_KEPT_BYTES: usize = 4 << 20;

/// The bytes that the handles of one guest keep.
#[derive(Default)]
pub(in crate::abi::component) struct Snapshots {
    now: Arc<AtomicUsize>,
    /// What of that its memory was charged with: as much as they ever had at once.
    charged: usize,
}

/// What there is no room in.
pub(super) enum Full {
    /// What the handles of a guest may keep.
    Handles,
    /// The guest's memory.
    Memory,
}

/// Bytes that are counted until this is dropped.
pub(super) struct Kept {
    bytes: usize,
    now: Arc<AtomicUsize>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.now.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Snapshots {
    /// Counts bytes, and has `charge` count those that are more than there ever were; it says whether there is room for them.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn keep(&mut self, bytes: usize, charge: impl FnOnce(usize) -> bool) -> Result<Kept, Full> {
        let kept = Kept { bytes, now: Arc::clone(&self.now) };
        let now = self.now.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        // Dropped, what was kept is not counted.
        if now > MAX_KEPT_BYTES {
            return Err(Full::Handles);
        }
        let more = now.saturating_sub(self.charged);
        if more > 0 && !charge(more) {
            return Err(Full::Memory);
        }
        self.charged = self.charged.saturating_add(more);
        Ok(kept)
    }
}
