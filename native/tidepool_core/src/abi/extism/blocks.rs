//! Which parts of a plug-in's second memory are blocks.
//!
//! Offsets that a plug-in gives are looked up here, and nothing else is believed of a block: the memory holds no records that a
//! plug-in could write to. A block keeps its size for the length of a call. A freed one goes to whoever asks for about as much when
//! there is no room behind the last one but in a larger memory, which is how Extism's kernel does it: plug-ins free the key of what they
//! ask for once they have that.

use std::collections::BTreeMap;

/// Where the first block begins. Offset 0 is none.
pub(super) const FIRST: u32 = 16;
/// Least bytes that a block takes, and the step of small sizes: more than what is kept of a block here.
const STEP: u32 = 32;
/// Larger sizes than this have eight steps between two powers of two.
const SMALL: u32 = 1 << 9;
/// Blocks whose records are kept from call to call.
const KEPT: usize = 1 << 10;

/// The blocks of one call.
#[derive(Default)]
pub(super) struct Blocks {
    /// In the order of their offsets.
    all: Vec<Block>,
    /// Free ones by their size, as places in `all`; no list is empty.
    free: BTreeMap<u32, Vec<usize>>,
}

/// A block; a free one has no bytes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) offset: u32,
    size: u32,
    /// Its length, as its owner has asked for it.
    pub(super) length: u32,
}

impl Block {
    /// Where it ends, with what it has more than its length.
    pub(super) fn end(self) -> u32 {
        self.offset.saturating_add(self.size)
    }
}

impl Blocks {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.all.shrink_to(KEPT);
        self.free.clear();
    }

    /// Where the last of them ends, or the first one would begin.
    pub(super) fn end(&self) -> u32 {
        self.all.last().map_or(FIRST, |last| last.end())
    }

    /// Takes a block of so many bytes, which may be more than the memory has: that has `there`. `None` when no memory could have as much,
    /// or for a block of nothing.
    pub(super) fn take(&mut self, length: u64, there: usize) -> Option<Block> {
        let length = u32::try_from(length).ok().filter(|length| *length > 0)?;
        let size = size(length)?;
        let offset = self.end();
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end as usize > there) {
            let fits = self.free.range(size..=size.saturating_mul(2)).next().map(|(size, _places)| *size);
            if let Some(block) = fits.and_then(|size| self.reuse(size)) {
                block.length = length;
                return Some(*block);
            }
        }
        end?;
        let block = Block { offset, size, length };
        self.all.push(block);
        Some(block)
    }

    /// Takes back the block that was taken last, for which there is no memory.
    pub(super) fn untake(&mut self, block: Block) {
        if self.all.last() == Some(&block) {
            self.all.pop();
        }
    }

    fn reuse(&mut self, size: u32) -> Option<&mut Block> {
        let places = self.free.get_mut(&size)?;
        let place = places.pop();
        if places.is_empty() {
            self.free.remove(&size);
        }
        self.all.get_mut(place?)
    }

    /// The block that begins at this offset and is in use.
    pub(super) fn find(&self, offset: u64) -> Option<Block> {
        self.all.get(self.place(offset)?).copied()
    }

    /// Frees the block that begins there, if one does.
    pub(super) fn release(&mut self, offset: u64) -> bool {
        let Some(place) = self.place(offset) else { return false };
        if let Some(block) = self.all.get_mut(place) {
            block.length = 0;
            self.free.entry(block.size).or_default().push(place);
        }
        true
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let offset = u32::try_from(offset).ok()?;
        let place = self.all.binary_search_by_key(&offset, |block| block.offset).ok()?;
        self.all.get(place).filter(|block| block.length > 0).map(|_block| place)
    }
}

/// What a block of this length takes: few sizes, so that freed blocks fit what is asked for next.
fn size(length: u32) -> Option<u32> {
    let step = if length <= SMALL { STEP } else { (length.next_power_of_two() >> 4).max(STEP) };
    length.checked_next_multiple_of(step)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    //! No two blocks overlap, and none is found but where it begins.

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Take(u64),
        Release(usize),
    }

    /// Of a memory that has room for some.
    const THERE: usize = 1 << 20;

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            prop_oneof![1_u64..200, 1_u64..(1 << 20)].prop_map(Act::Take),
            (0_usize..100).prop_map(Act::Release)
        ];
        proptest::collection::vec(act, 0..200)
    }

    proptest! {
        #[test]
        fn blocks_in_use_never_overlap_and_hold_what_was_asked_for(acts in acts()) {
            let (mut blocks, mut held) = (Blocks::default(), Vec::<Block>::new());
            for act in acts {
                match act {
                    Act::Take(length) => {
                        let block = blocks.take(length, THERE).unwrap();
                        prop_assert!(u64::from(block.length) == length && block.size >= block.length);
                        prop_assert!(block.offset >= FIRST && block.offset % 8 == 0);
                        prop_assert!(u64::from(block.size) <= 2 * (length + length / 8 + u64::from(STEP)));
                        let apart = |other: &Block| other.end() <= block.offset || block.end() <= other.offset;
                        prop_assert!(held.iter().all(apart), "{block:?} {held:?}");
                        held.push(block);
                    }
                    Act::Release(which) if which < held.len() => {
                        let block = held.swap_remove(which);
                        prop_assert!(blocks.release(block.offset.into()));
                        prop_assert!(!blocks.release(block.offset.into()));
                    }
                    Act::Release(_) => {}
                }
                for block in &held {
                    prop_assert_eq!(blocks.find(block.offset.into()), Some(*block));
                    prop_assert_eq!(blocks.find(u64::from(block.offset) + 1), None);
                }
            }
        }
    }

    #[test]
    fn a_block_that_no_memory_could_have_is_not_taken() {
        let mut blocks = Blocks::default();
        for length in [0, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(blocks.take(length, THERE), None);
        }
        let large = blocks.take(4_000_000_000, THERE).unwrap();
        assert_eq!(blocks.take(1 << 30, THERE), None);
        blocks.untake(large);
        assert!(blocks.take(1 << 30, THERE).is_some());
    }

    #[test]
    fn a_freed_block_is_taken_again_when_the_memory_would_have_to_grow_and_not_before() {
        let mut blocks = Blocks::default();
        let there = (FIRST + 3 * STEP) as usize;
        let first = blocks.take(1, there).unwrap();
        assert!(blocks.release(first.offset.into()));
        let others = [1, 2].map(|length| blocks.take(length, there).unwrap().offset);
        assert_eq!(others, [first.end(), first.end() + STEP]);
        assert_eq!(blocks.take(3, there).unwrap().offset, first.offset);
        assert_eq!(blocks.take(4, there).unwrap().offset, there as u32);
    }
}
