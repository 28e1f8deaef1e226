//! Which parts of a plug-in's second memory are blocks.
//!
//! Offsets that a plug-in gives are looked up here, and nothing else is believed of a block: the memory holds no records that a
//! plug-in could write to. A block keeps its size for the length of a call. A freed one goes to whoever asks for about as much when
//! there is no room behind the last one but in a larger memory, which is how Extism's kernel does it: plug-ins free the key of what they
//! ask for once they have that.
//!
//! What is kept of blocks here counts as the plug-in's memory, as the blocks do: of the smallest it is up to half as much as they are.

use std::collections::BTreeMap;

/// Where the first block begins. Offset 0 is none.
pub(super) const FIRST: u32 = 16;
/// Least bytes that a block takes, and the step of small sizes.
const STEP: u32 = 32;
/// Larger sizes than this have eight steps between two powers of two.
const SMALL: u32 = 1 << 9;
/// Blocks whose records are kept from call to call, and count as the instance's place.
const KEPT: usize = 1 << 10;
/// The fewest that there is room made for at once.
const AT_ONCE: usize = 64;
/// Beside the size of a block: it is free. Sizes are multiples of [`STEP`].
const FREE: u32 = 1;
/// No further one is free.
const NONE: u32 = u32::MAX;

/// The blocks of one call.
#[derive(Default)]
pub(super) struct Blocks {
    /// In the order of their offsets.
    all: Vec<Block>,
    /// By their size the free ones that were freed last, as places in `all`.
    free: BTreeMap<u32, u32>,
    /// What the instance's memory was charged with for `all`, in this call or one before.
    charged: usize,
}

/// Why there is no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoBlock {
    /// No memory could have as much, or it is one of nothing.
    Length,
    /// There is no room for what is kept of it.
    Room,
}

/// A block; of a free one the length is the place of the next free one of its size.
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
        self.offset.saturating_add(self.size & !FREE)
    }

    fn is_free(self) -> bool {
        self.size & FREE != 0
    }
}

impl Blocks {
    /// Forgets all of them, and keeps no more than there is for any instance.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.all.shrink_to(KEPT);
        self.free.clear();
    }

    /// Where the last of them ends, or the first one would begin.
    pub(super) fn end(&self) -> u32 {
        self.all.last().map_or(FIRST, |last| last.end())
    }

    /// Takes a block of so many bytes, which may be more than the memory has: that has `there`. What more is kept of it `charge` takes for
    /// as long as the instance lives, or refuses.
    ///
    /// # Errors
    /// [`NoBlock`].
    pub(super) fn take(
        &mut self,
        length: u64,
        there: usize,
        charge: impl FnOnce(usize) -> bool,
    ) -> Result<Block, NoBlock> {
        let length = u32::try_from(length).ok().filter(|length| *length > 0).ok_or(NoBlock::Length)?;
        let size = size(length).ok_or(NoBlock::Length)?;
        let offset = self.end();
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end as usize > there) {
            let fits = self.free.range(size..=size.saturating_mul(2)).next().map(|(size, _place)| *size);
            if let Some(block) = fits.and_then(|size| self.reuse(size)) {
                block.length = length;
                return Ok(*block);
            }
        }
        if end.is_none() {
            return Err(NoBlock::Length);
        }
        if !self.make_room(charge) {
            return Err(NoBlock::Room);
        }
        let block = Block { offset, size, length };
        self.all.push(block);
        Ok(block)
    }

    /// Has room for the record of one more, by quarters of what there is: doubled, half of what is counted would be there for nothing.
    fn make_room(&mut self, charge: impl FnOnce(usize) -> bool) -> bool {
        if self.all.len() < self.all.capacity() {
            return true;
        }
        let more = (self.all.len() / 4).max(AT_ONCE);
        let counted = self.all.len().saturating_add(more).saturating_sub(KEPT);
        let bytes = counted.saturating_mul(size_of::<Block>());
        let uncharged = bytes.saturating_sub(self.charged);
        if uncharged > 0 && !charge(uncharged) {
            return false;
        }
        self.charged = self.charged.max(bytes);
        self.all.reserve_exact(more);
        true
    }

    /// Takes back the block that was taken last, for which there is no memory.
    pub(super) fn untake(&mut self, block: Block) {
        if self.all.last() == Some(&block) {
            self.all.pop();
        }
    }

    /// The free block of this size that was freed last, which is in use from now on.
    fn reuse(&mut self, size: u32) -> Option<&mut Block> {
        let place = self.free.remove(&size)?;
        let block = self.all.get_mut(place as usize)?;
        if block.length != NONE {
            self.free.insert(size, block.length);
        }
        block.size = size;
        Some(block)
    }

    /// The block that begins at this offset and is in use.
    pub(super) fn find(&self, offset: u64) -> Option<Block> {
        self.all.get(self.place(offset)?).copied()
    }

    /// Frees the block that begins there, if one does.
    pub(super) fn release(&mut self, offset: u64) -> bool {
        let Some(place) = self.place(offset) else { return false };
        // Fewer than 2^27 are in a memory.
        if let (Some(block), Ok(place)) = (self.all.get_mut(place), u32::try_from(place)) {
            block.length = self.free.insert(block.size, place).unwrap_or(NONE);
            block.size |= FREE;
        }
        true
    }

    fn place(&self, offset: u64) -> Option<usize> {
        let offset = u32::try_from(offset).ok()?;
        let place = self.all.binary_search_by_key(&offset, |block| block.offset).ok()?;
        self.all.get(place).filter(|block| !block.is_free()).map(|_block| place)
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

    fn take(blocks: &mut Blocks, length: u64, there: usize) -> Result<Block, NoBlock> {
        blocks.take(length, there, |_bytes| true)
    }

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
                        let block = take(&mut blocks, length, THERE).unwrap();
                        prop_assert!(u64::from(block.length) == length && block.size >= block.length);
                        prop_assert!(block.offset >= FIRST && block.offset.is_multiple_of(8));
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
            assert_eq!(take(&mut blocks, length, THERE), Err(NoBlock::Length));
        }
        let large = take(&mut blocks, 4_000_000_000, THERE).unwrap();
        assert_eq!(take(&mut blocks, 1 << 30, THERE), Err(NoBlock::Length));
        blocks.untake(large);
        assert!(take(&mut blocks, 1 << 30, THERE).is_ok());
    }

    #[test]
    fn a_freed_block_is_taken_again_when_the_memory_would_have_to_grow_and_not_before() {
        let mut blocks = Blocks::default();
        let there = (FIRST + 3 * STEP) as usize;
        let first = take(&mut blocks, 1, there).unwrap();
        assert!(blocks.release(first.offset.into()));
        let others = [1, 2].map(|length| take(&mut blocks, length, there).unwrap().offset);
        assert_eq!(others, [first.end(), first.end() + STEP]);
        assert_eq!(take(&mut blocks, 3, there).unwrap().offset, first.offset);
        assert_eq!(take(&mut blocks, 4, there).unwrap().offset, there as u32);
    }

    #[test]
    fn freed_blocks_are_taken_again_all_of_them_and_the_last_one_first() {
        let mut blocks = Blocks::default();
        let mut taken: Vec<_> = (0..100).map(|_block| take(&mut blocks, 1, THERE).unwrap().offset).collect();
        assert!(taken.iter().all(|offset| blocks.release((*offset).into())));
        assert!(!taken.iter().any(|offset| blocks.release((*offset).into())));
        let again: Vec<_> = (0..100).map(|_block| take(&mut blocks, 2, 0).unwrap().offset).collect();
        taken.reverse();
        assert_eq!(again, taken);
        assert_eq!(take(&mut blocks, 3, 0).unwrap().offset, FIRST + 100 * STEP);
    }

    #[test]
    fn what_is_kept_of_blocks_is_charged_before_it_is_there_and_once_for_all_calls() {
        let (mut blocks, mut charged) = (Blocks::default(), 0);
        for call in 0..3 {
            for _block in 0..100_000 {
                let taken = blocks.take(1, 1 << 30, |bytes| {
                    charged += bytes;
                    true
                });
                assert!(blocks.release(taken.unwrap().offset.into()));
                assert!(blocks.all.capacity().saturating_sub(KEPT) * size_of::<Block>() <= charged);
            }
            // A quarter more than there are, at most.
            assert!(charged <= 125_000 * size_of::<Block>(), "{charged} in call {call}");
            blocks.clear();
            assert!(blocks.all.capacity() <= KEPT && blocks.free.is_empty());
        }
    }

    #[test]
    fn a_block_without_room_for_what_is_kept_of_it_is_refused_and_those_before_it_stay() {
        let mut blocks = Blocks::default();
        let refused = loop {
            if let Err(why) = blocks.take(1, THERE, |_bytes| false) {
                break why;
            }
        };
        let (there, last) = (blocks.all.len(), blocks.all.last().copied().unwrap());
        assert_eq!(refused, NoBlock::Room);
        assert!((KEPT / 2..=KEPT).contains(&there), "{there}");
        assert_eq!(blocks.find(last.offset.into()), Some(last));
        assert!(blocks.release(last.offset.into()));
        assert_eq!(blocks.take(1, 0, |_bytes| false).map(|block| block.offset), Ok(last.offset));
    }
}
