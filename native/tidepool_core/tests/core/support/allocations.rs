//! What a thread allocates: large pieces, of which a copy of what is large takes one, and how much it has at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes of one that is large.
pub(crate) const LARGE: usize = 60_000;

thread_local! {
    static LARGE_ONES: Cell<usize> = const { Cell::new(0) };
    /// Bytes that it has allocated and not freed, which may be negative, and the most that was.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(allocated: usize, freed: usize) {
    // Of a thread that ends nobody asks.
    let _ = LARGE_ONES.try_with(|count| count.set(count.get() + usize::from(allocated >= LARGE)));
    let held = HELD.try_with(|held| {
        held.set(held.get() + allocated.cast_signed() - freed.cast_signed());
        held.get()
    });
    let _ = MOST.try_with(|most| most.set(most.get().max(held.unwrap_or(0))));
}

// SAFETY: all that is allocated and freed is by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller's promises are those that it wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Large allocations of this thread while it does something.
pub(crate) fn large_allocations(of: impl FnOnce()) -> usize {
    let before = LARGE_ONES.get();
    of();
    LARGE_ONES.get() - before
}

/// What this thread does, and how many bytes more it has allocated then than before.
pub(crate) fn left_allocated<T>(of: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    let outcome = of();
    (outcome, HELD.get() - before)
}

/// What this thread does, and the most bytes that it had allocated meanwhile beside what it had before.
pub(crate) fn most_allocated<T>(of: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let outcome = of();
    (outcome, MOST.get().abs_diff(before))
}
