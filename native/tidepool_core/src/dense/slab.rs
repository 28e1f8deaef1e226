//! A slab: slots of one size in one mapping, lent and taken back.
//!
//! ```text
//!  guard │ slot 0 │ guard │ slot 1 │ guard │ slot 2 │ guard │ …
//! ```
//!
//! A slot that is lent reads as zero all over. One that comes back is zeroed in place where little was written, for that
//! costs least; its pages stay then, up to a budget, and until nobody has wanted them for a while. Else its pages go back to the
//! system, those of some slots at once: each time all cores have to forget where pages were.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::high_water::HighWater;
use super::os::{Guards, PAGE_BYTES, PageMap, Space};

/// As much as this is zeroed in place.
const MAX_ZEROED_BYTES: usize = 256 << 10;
/// Pages of free slots that a slab keeps, together.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// As many of those stay that nobody wants.
const MIN_KEPT_BYTES: usize = 2 << 20;
/// Slots that may have been written up to as much together are emptied at once: a millisecond, if all of it was.
const WORN_BYTES: usize = 16 << 20;
/// As many slots are emptied at once that nobody wanted.
const LOOK_SLOTS: usize = 64;

/// Why there is no slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlabError {
    /// All slots are lent.
    #[error("{MARK}: all {slots} slots are lent")]
    Exhausted {
        /// How many there are.
        slots: usize,
    },
    /// The system refused to guard another slot.
    #[error("{MARK}: the system refused to guard another one: {message}")]
    Guard {
        /// What it said.
        message: String,
    },
}

/// How the text of these errors starts: it is all that wasmtime passes on of one that a memory meets.
const MARK: &str = "no slot in the slab";

impl SlabError {
    /// Was it this that stopped wasmtime?
    pub(crate) fn is(error: &wasmtime::Error) -> bool {
        error.is::<SlabError>() || error.root_cause().to_string().starts_with(MARK)
    }
}

#[derive(Debug)]
struct Kept {
    index: usize,
    bytes: usize,
    /// All of its resident pages are below this many bytes.
    written_up_to: usize,
}

/// Slots of one size.
#[derive(Debug)]
pub(super) struct Slab {
    space: Space,
    slots: usize,
    slot_bytes: usize,
    guards: Option<Guards>,
    /// For finding written pages; without it all pages of a slot go back to the system.
    pages: Option<PageMap>,
    free: Mutex<Free>,
}

/// Which slots are free.
#[derive(Debug, Default)]
struct Free {
    /// Slots from this one on were never lent.
    untouched: usize,
    /// Slots that keep pages, zeroed.
    kept: Vec<Kept>,
    /// How many bytes they keep together.
    kept_bytes: usize,
    /// The fewest of them since the last look.
    least_kept: usize,
    /// Slots that are to be emptied.
    worn: Vec<usize>,
    /// How much of them may have been written.
    worn_bytes: usize,
    /// Slots without pages.
    empty: Vec<usize>,
    high_water: HighWater,
}

impl Slab {
    /// Reserves `slots` of `slot_bytes`, each between two guard pages if there are `guards`.
    pub(super) fn new(slots: usize, slot_bytes: usize, guards: Option<Guards>) -> io::Result<Arc<Self>> {
        let slot_bytes = slot_bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let guard_bytes = if guards.is_some() { PAGE_BYTES } else { 0 };
        let len = slot_bytes
            .checked_add(guard_bytes)
            .and_then(|stride| stride.checked_mul(slots))
            .and_then(|len| len.checked_add(guard_bytes))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let space = Space::reserve(len)?;
        if let Some(guards) = guards {
            space.guard(0..PAGE_BYTES, guards)?;
        }
        let free = Mutex::new(Free::default());
        Ok(Arc::new(Slab { space, slots, slot_bytes, guards, pages: PageMap::open(), free }))
    }

    /// Lends a slot, which reads as zero.
    ///
    /// # Errors
    /// [`SlabError`] when all are lent, or a guard can't be had.
    pub(super) fn lend(self: &Arc<Self>) -> Result<Slot, SlabError> {
        let mut free = self.free();
        let (index, written_up_to) = if let Some(kept) = free.kept.pop() {
            free.kept_bytes -= kept.bytes;
            free.least_kept = free.least_kept.min(free.kept.len());
            (kept.index, kept.written_up_to)
        } else if let Some(index) = free.empty.pop() {
            (index, 0)
        } else if free.untouched < self.slots {
            let index = free.untouched;
            self.guard_behind(index)?;
            free.untouched += 1;
            (index, 0)
        } else {
            let worn = free.take_worn();
            if worn.is_empty() {
                return Err(SlabError::Exhausted { slots: self.slots });
            }
            drop(free);
            self.empty(worn);
            return self.lend();
        };
        free.high_water.lend();
        Ok(Slot { slab: Arc::clone(self), index, written_up_to })
    }

    /// Guards the page behind a slot. The one before it has its guard from its neighbour.
    fn guard_behind(&self, index: usize) -> Result<(), SlabError> {
        let Some(guards) = self.guards else { return Ok(()) };
        let behind = self.offset(index) + self.slot_bytes;
        self.space
            .guard(behind..behind + PAGE_BYTES, guards)
            .map_err(|error| SlabError::Guard { message: error.to_string() })
    }

    /// Where a slot starts. It can't overflow: the whole of the slab was reserved.
    fn offset(&self, index: usize) -> usize {
        let guard_bytes = if self.guards.is_some() { PAGE_BYTES } else { 0 };
        guard_bytes + index * (self.slot_bytes + guard_bytes)
    }

    /// Takes a slot back, of which only the first `written_up_to` bytes may have been written to.
    fn take_back(&self, index: usize, written_up_to: usize) {
        let start = self.offset(index);
        let pages = written_up_to.checked_next_multiple_of(PAGE_BYTES);
        let range = start..start + pages.unwrap_or(self.slot_bytes).min(self.slot_bytes);
        if let Some(pages) = self.pages.as_ref().filter(|_| self.free().kept_bytes < MAX_KEPT_BYTES) {
            // SAFETY: the slot's only user is gone, it was not lent again, and guards lie outside of slots.
            if let Some(bytes) = unsafe { self.space.zero_written(range, MAX_ZEROED_BYTES, pages) } {
                let mut free = self.free();
                free.high_water.take_back();
                free.kept_bytes += bytes;
                free.kept.push(Kept { index, bytes, written_up_to });
                return;
            }
        }
        let worn = {
            let mut free = self.free();
            free.high_water.take_back();
            free.worn.push(index);
            free.worn_bytes = free.worn_bytes.saturating_add(written_up_to);
            if free.worn_bytes < WORN_BYTES { Vec::new() } else { free.take_worn() }
        };
        self.empty(worn);
    }

    /// Gives the pages of slots back to the system, of neighbours at once. Their guards stay.
    fn empty(&self, mut worn: Vec<usize>) {
        worn.sort_unstable();
        for run in worn.chunk_by(|one, next| one + 1 == *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            // Slots that can't be emptied (as when all memory of the process is locked) are not lent again.
            if self.space.discard(self.offset(*first)..self.offset(*last) + self.slot_bytes).is_ok() {
                self.free().empty.extend(run);
            }
        }
    }

    /// Gives pages back that nobody has wanted since the last look. Whether many slots have come back since that, and no more do:
    /// then memory beside them is worth giving back.
    pub(super) fn look(&self) -> bool {
        let (worn, ebbed) = {
            let mut free = self.free();
            let mut worn = free.take_worn();
            // The last ones are lent first.
            let mut idle = free.least_kept.min(free.kept.len());
            let mut left = free.kept_bytes;
            for (index, kept) in free.kept.iter().take(idle).enumerate() {
                if left <= MIN_KEPT_BYTES {
                    idle = index;
                    break;
                }
                left -= kept.bytes;
            }
            free.kept_bytes = left;
            worn.extend(free.kept.drain(..idle).map(|kept| kept.index));
            free.least_kept = free.kept.len();
            (worn, free.high_water.look())
        };
        for some in worn.chunks(LOOK_SLOTS) {
            self.empty(some.to_vec());
        }
        ebbed
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // Nothing panics while it holds the lock.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn take_worn(&mut self) -> Vec<usize> {
        self.worn_bytes = 0;
        std::mem::take(&mut self.worn)
    }
}

/// A slot that only the owner of this value uses. It reads as zero at first.
#[derive(Debug)]
pub(super) struct Slot {
    slab: Arc<Slab>,
    index: usize,
    written_up_to: usize,
}

impl Slot {
    /// Its first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.slab.space.at(self.slab.offset(self.index))
    }

    /// Its size in bytes, a multiple of the page size.
    pub(super) fn len(&self) -> usize {
        self.slab.slot_bytes
    }

    /// Notes that its first `bytes` may be written to from now on.
    pub(super) fn use_up_to(&mut self, bytes: usize) {
        self.written_up_to = self.written_up_to.max(bytes);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slab.take_back(self.index, self.written_up_to);
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
