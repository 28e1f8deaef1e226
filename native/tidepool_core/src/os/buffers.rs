//! Memory of large messages, kept for the next ones.
//!
//! The allocator maps a block of 128 KiB and more anew, and unmaps it when it is freed. The kernel then clears each page
//! and hands it out on its own, which takes several times as long as the copy of a message. So the memory of a message
//! that is gone is kept for another one: up to a bound, and for some seconds.
//!
//! A buffer that is taken is empty: nothing of the message before can be read from it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use bytes::Bytes;

use super::per_thread::thread_number;

/// Smaller buffers are the allocator's affair: it has them at hand, and their pages are resident.
const LEAST_BYTES: usize = 16 << 10;
/// What is kept for each core at most.
const SHELF_BYTES: usize = 16 << 20;
/// Larger buffers are not kept.
const MOST_BYTES: usize = SHELF_BYTES / 2;
/// How many buffers are kept for each core at most: they are looked through.
const SHELF_BUFFERS: usize = 64;
/// How many shelves a thread looks at.
const SHELVES: usize = 8;
/// After so many looks a buffer that nobody has taken is given back.
const IDLE_LOOKS: u64 = 3;
/// New buffers are multiples of this, so that those of about the same size serve each other's messages.
const PAGE_BYTES: usize = 4 << 10;

static BUFFERS: LazyLock<Buffers> =
    LazyLock::new(|| Buffers::new(thread::available_parallelism().map_or(1, usize::from)));

/// An empty buffer that `bytes` fit into.
#[must_use]
pub fn take(bytes: usize) -> Vec<u8> {
    if is_kept(bytes) { BUFFERS.take(bytes) } else { Vec::with_capacity(bytes) }
}

/// Keeps the memory of a message that is gone for another one.
pub fn give_back(buffer: Vec<u8>) {
    if is_kept(buffer.capacity()) {
        BUFFERS.give_back(buffer);
    }
}

/// `message`, whose memory is given back when the last clone is dropped.
#[must_use]
pub fn shared(message: Vec<u8>) -> Bytes {
    if is_kept(message.capacity()) { Bytes::from_owner(SharedBuffer(message)) } else { message.into() }
}

/// Frees the buffers that nobody has taken for some looks.
pub(crate) fn look() {
    BUFFERS.look();
}

/// How many bytes are kept now.
#[cfg(test)]
pub(crate) fn kept() -> usize {
    BUFFERS.shelves.iter().map(|shelf| shelf.kept().bytes).sum()
}

fn is_kept(bytes: usize) -> bool {
    (LEAST_BYTES..=MOST_BYTES).contains(&bytes)
}

/// A message that gives its memory back.
struct SharedBuffer(Vec<u8>);

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

/// A shelf for each core. A thread begins with the same one each time, and goes on to the next where that is in use, or has
/// nothing that fits.
struct Buffers {
    shelves: Box<[Shelf]>,
    looks: AtomicU64,
}

/// Two cache lines each, so that threads at different shelves don't share one.
#[repr(align(128))]
#[derive(Default)]
struct Shelf(Mutex<Kept>);

/// Those that were given back first stand in front.
#[derive(Default)]
struct Kept {
    buffers: VecDeque<Idle>,
    bytes: usize,
}

struct Idle {
    buffer: Vec<u8>,
    /// How many looks there had been when it was given back.
    since: u64,
}

impl Buffers {
    fn new(shelves: usize) -> Self {
        Buffers { shelves: (0..shelves.max(1)).map(|_| Shelf::default()).collect(), looks: AtomicU64::new(0) }
    }

    fn take(&self, bytes: usize) -> Vec<u8> {
        let found = self.near().find_map(|shelf| shelf.try_kept()?.take(bytes));
        found.unwrap_or_else(|| Vec::with_capacity(bytes.next_multiple_of(PAGE_BYTES)))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let since = self.looks.load(Ordering::Relaxed);
        let Some(mut kept) = self.near().find_map(Shelf::try_kept) else { return };
        let surplus = kept.add(Idle { buffer, since });
        // Unlocked before the kernel takes memory back.
        drop(kept);
        drop(surplus);
    }

    fn look(&self) {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        for shelf in &self.shelves {
            let idle = shelf.kept().take_idle(looks.saturating_sub(IDLE_LOOKS));
            drop(idle);
        }
    }

    /// The calling thread's shelf, and some of the others.
    fn near(&self) -> impl Iterator<Item = &Shelf> {
        let mine = thread_number() % self.shelves.len();
        self.shelves.iter().cycle().skip(mine).take(self.shelves.len().min(SHELVES))
    }
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while another thread is at it.
    fn try_kept(&self) -> Option<MutexGuard<'_, Kept>> {
        match self.0.try_lock() {
            Ok(kept) => Some(kept),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Kept {
    /// The buffer given back last that `bytes` fit into and fill for three quarters at least: a short message that is kept
    /// for long is not to hold much memory.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits = |idle: &Idle| bytes <= idle.buffer.capacity() && idle.buffer.capacity() - bytes <= bytes / 3;
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(at)?.buffer;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Keeps a buffer; returns those for which there is no room beside it, the oldest.
    fn add(&mut self, idle: Idle) -> Vec<Idle> {
        self.bytes += idle.buffer.capacity();
        self.buffers.push_back(idle);
        let mut surplus = Vec::new();
        while self.bytes > SHELF_BYTES || self.buffers.len() > SHELF_BUFFERS {
            surplus.extend(self.take_first());
        }
        surplus
    }

    /// Takes the buffers that were given back before so many looks.
    fn take_idle(&mut self, before: u64) -> Vec<Idle> {
        let mut idle = Vec::new();
        while self.buffers.front().is_some_and(|first| first.since < before) {
            idle.extend(self.take_first());
        }
        idle
    }

    fn take_first(&mut self) -> Option<Idle> {
        let first = self.buffers.pop_front()?;
        self.bytes -= first.buffer.capacity();
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buffers: &Buffers) -> usize {
        let on = |shelf: &Shelf| -> usize { shelf.kept().buffers.iter().map(|idle| idle.buffer.capacity()).sum() };
        buffers.shelves.iter().map(on).sum()
    }

    #[test]
    fn a_buffer_serves_the_next_message_of_about_its_size_and_shows_nothing_of_the_last() {
        let buffers = Buffers::new(2);
        let mut first = buffers.take(1 << 20);
        first.resize(1 << 20, 7);
        let place = first.as_ptr();
        buffers.give_back(first);
        let (larger, smaller) = (buffers.take((1 << 20) + 1), buffers.take(700 << 10));
        assert_eq!(
            (larger.capacity(), smaller.capacity(), kept(&buffers)),
            ((1 << 20) + PAGE_BYTES, 700 << 10, 1 << 20)
        );
        let second = buffers.take(900 << 10);
        assert_eq!((second.as_ptr(), second.len()), (place, 0));
        assert_eq!((buffers.take(900 << 10).capacity(), kept(&buffers)), (900 << 10, 0));
    }

    #[test]
    fn what_is_kept_stays_within_its_bound_and_the_oldest_goes_first() {
        let buffers = Buffers::new(1);
        let shelf = |bytes: usize| SHELF_BYTES / bytes;
        let taken: Vec<_> = (0..2 * shelf(1 << 20)).map(|_| buffers.take(1 << 20)).collect();
        for buffer in taken {
            buffers.give_back(buffer);
            assert!(kept(&buffers) <= SHELF_BYTES);
        }
        assert_eq!(kept(&buffers), SHELF_BYTES);
        // Messages of another size find room although nobody takes those of the first any more.
        for _ in 0..2 {
            let other: Vec<_> = (0..2).map(|_| buffers.take(MOST_BYTES)).collect();
            other.into_iter().for_each(|buffer| buffers.give_back(buffer));
        }
        assert_eq!(
            (kept(&buffers), buffers.shelves.iter().map(|shelf| shelf.kept().buffers.len()).sum()),
            (SHELF_BYTES, 2)
        );
    }

    #[test]
    fn buffers_that_nobody_takes_any_more_are_freed_and_those_in_use_are_kept() {
        let buffers = Buffers::new(1);
        let (idle, busy) = (buffers.take(4 << 20), buffers.take(1 << 20));
        let place = busy.as_ptr();
        buffers.give_back(idle);
        buffers.give_back(busy);
        for _ in 0..=IDLE_LOOKS {
            let busy = buffers.take(1 << 20);
            assert_eq!(busy.as_ptr(), place);
            buffers.give_back(busy);
            buffers.look();
        }
        assert_eq!(kept(&buffers), 1 << 20);
        for _ in 0..=IDLE_LOOKS {
            buffers.look();
        }
        assert_eq!(kept(&buffers), 0);
    }

    #[test]
    fn threads_share_what_is_kept_and_never_get_the_same_buffer() {
        let buffers = Buffers::new(3);
        thread::scope(|scope| {
            for mark in 0..8_u8 {
                let buffers = &buffers;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let mut mine = buffers.take(LEAST_BYTES);
                        assert!(mine.is_empty());
                        mine.resize(LEAST_BYTES, mark);
                        thread::yield_now();
                        assert!(mine.iter().all(|byte| *byte == mark));
                        buffers.give_back(mine);
                    }
                });
            }
        });
        // There may be more than threads: who finds a shelf in use makes one of its own.
        assert!((LEAST_BYTES..=3 * SHELF_BYTES).contains(&kept(&buffers)));
        // Whoever comes finds them, on whichever shelf they are.
        for _ in 0..kept(&buffers) / LEAST_BYTES {
            let before = kept(&buffers);
            drop(buffers.take(LEAST_BYTES));
            assert_eq!(kept(&buffers), before - LEAST_BYTES);
        }
    }

    #[test]
    fn small_and_huge_messages_are_the_allocators() {
        for bytes in [0, 1, LEAST_BYTES - 1, MOST_BYTES + 1] {
            let buffer = take(bytes);
            assert_eq!(buffer.capacity(), bytes);
            give_back(buffer);
            assert_eq!(shared(vec![1; bytes]).len(), bytes);
        }
    }
}
