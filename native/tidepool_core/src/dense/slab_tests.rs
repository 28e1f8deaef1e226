#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]

use std::collections::HashSet;
use std::io::Write;

use super::*;

fn both() -> Vec<Guards> {
    let mut both = vec![Guards::Protection];
    both.extend(Some(Guards::probe()).filter(|guards| *guards == Guards::Markers));
    both
}

/// The bytes of a slot that `use_up_to` was told of.
fn bytes(slot: &mut Slot, len: usize) -> &mut [u8] {
    slot.use_up_to(len);
    // SAFETY: the slot is lent to whoever has it, and as long as `len` at least.
    unsafe { std::slice::from_raw_parts_mut(slot.start(), len) }
}

#[test]
fn a_slot_that_is_lent_again_reads_as_zero_however_much_was_written() {
    let slab = Slab::new(1, 2 << 20, None).unwrap();
    for written in [1, PAGE_BYTES, MAX_ZEROED_BYTES, MAX_ZEROED_BYTES + 1, 2 << 20] {
        for from in [0, (2 << 20) - written] {
            bytes(&mut slab.lend().unwrap(), 2 << 20)[from..from + written].fill(0xff);
            assert!(bytes(&mut slab.lend().unwrap(), 2 << 20).iter().all(|byte| *byte == 0), "{written} from {from}");
        }
    }
}

#[test]
fn a_slot_reads_as_zero_when_its_pages_were_written_here_and_there() {
    let slab = Slab::new(1, 2 << 20, None).unwrap();
    for step in [2, 5, 16] {
        for page in (0..512).step_by(step) {
            bytes(&mut slab.lend().unwrap(), 2 << 20)[page * PAGE_BYTES + 7] = 1;
        }
        let mut slot = slab.lend().unwrap();
        for page in (0..512).step_by(step) {
            bytes(&mut slot, 2 << 20)[page * PAGE_BYTES + 7] = 1;
        }
        drop(slot);
        assert!(bytes(&mut slab.lend().unwrap(), 2 << 20).iter().all(|byte| *byte == 0), "each {step} pages");
    }
}

#[test]
fn a_slot_reads_as_zero_where_the_kernel_can_not_tell_what_was_written() {
    let mut slab = Slab::new(1, 64 << 10, None).unwrap();
    Arc::get_mut(&mut slab).unwrap().pages = None;
    bytes(&mut slab.lend().unwrap(), 64 << 10).fill(0xff);
    assert!(bytes(&mut slab.lend().unwrap(), 64 << 10).iter().all(|byte| *byte == 0));
}

#[test]
fn a_page_that_an_earlier_user_wrote_behind_the_end_of_the_next_is_zero_for_the_one_after() {
    let slab = Slab::new(1, 1 << 20, None).unwrap();
    bytes(&mut slab.lend().unwrap(), 1 << 20)[(1 << 20) - 1] = 1;
    bytes(&mut slab.lend().unwrap(), PAGE_BYTES)[0] = 1;
    assert!(bytes(&mut slab.lend().unwrap(), 1 << 20).iter().all(|byte| *byte == 0));
}

#[test]
fn no_two_users_share_a_byte() {
    for guards in [None, Some(Guards::probe())] {
        let slab = Slab::new(8, 64 << 10, guards).unwrap();
        let mut slots: Vec<Slot> = (0..8).map(|_| slab.lend().unwrap()).collect();
        for (mark, slot) in (1..).zip(&mut slots) {
            bytes(slot, 64 << 10).fill(mark);
        }
        slots.swap_remove(3);
        slots.push(slab.lend().unwrap());
        let marks: HashSet<u8> = slots
            .iter_mut()
            .map(|slot| {
                let bytes = bytes(slot, 64 << 10);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                bytes[0]
            })
            .collect();
        assert_eq!(marks, HashSet::from([0, 1, 2, 3, 5, 6, 7, 8]));
    }
}

/// The kernel reads for whoever writes to a pipe, and says when it may not.
fn readable(address: *const u8) -> bool {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: nothing but the kernel looks at the byte, and it checks the address.
    writer.write(unsafe { std::slice::from_raw_parts(address, 1) }).is_ok()
}

#[test]
fn the_pages_around_a_slot_can_not_be_accessed_nor_after_it_was_emptied() {
    for guards in both() {
        let slab = Slab::new(3, 512 << 10, Some(guards)).unwrap();
        for _turn in 0..2 {
            let mut slots: Vec<Slot> = (0..3).map(|_| slab.lend().unwrap()).collect();
            for slot in &mut slots {
                // More than is zeroed in place, so that the slot is emptied the other way.
                bytes(slot, 512 << 10).fill(1);
                let (start, end) = (slot.start(), slot.start().wrapping_add(slot.len()));
                assert!(readable(start) && readable(end.wrapping_sub(1)));
                assert!(!readable(start.wrapping_sub(1)) && !readable(start.wrapping_sub(PAGE_BYTES)), "{guards:?}");
                assert!(!readable(end) && !readable(end.wrapping_add(PAGE_BYTES - 1)), "{guards:?}");
            }
        }
    }
}

#[test]
fn slots_are_lent_until_there_are_none_and_again_when_one_is_back() {
    let slab = Slab::new(3, PAGE_BYTES, Some(Guards::probe())).unwrap();
    let mut slots: Vec<Slot> = (0..3).map(|_| slab.lend().unwrap()).collect();
    assert_eq!(slab.lend().unwrap_err(), SlabError::Exhausted { slots: 3 });
    slots.pop();
    let last = slab.lend().unwrap();
    assert_eq!(slab.lend().unwrap_err(), SlabError::Exhausted { slots: 3 });
    drop((slots, last));
    assert_eq!((0..4).map_while(|_| slab.lend().ok()).collect::<Vec<_>>().len(), 3);
}

#[test]
fn pages_of_free_slots_are_kept_up_to_a_budget() {
    const SLOT: usize = 128 << 10;
    let count = 2 * MAX_KEPT_BYTES / SLOT;
    let slab = Slab::new(count, SLOT, None).unwrap();
    let mut slots: Vec<Slot> = (0..count).map(|_| slab.lend().unwrap()).collect();
    slots.iter_mut().for_each(|slot| bytes(slot, SLOT).fill(1));
    drop(slots);
    let free = slab.free();
    assert!(free.kept_bytes <= MAX_KEPT_BYTES + SLOT);
    assert_eq!(free.kept.len() + free.worn.len() + free.empty.len(), count);
    assert!(free.worn.len() + free.empty.len() >= count / 2 - 1);
    assert!(free.worn.len() * SLOT < WORN_BYTES);
}

#[test]
fn pages_of_free_slots_that_nobody_wants_are_given_back_at_the_second_look() {
    const SLOT: usize = 128 << 10;
    let slab = Slab::new(256, SLOT, Some(Guards::probe())).unwrap();
    let dirty = |count: usize| {
        let mut slots: Vec<Slot> = (0..count).map(|_| slab.lend().unwrap()).collect();
        slots.iter_mut().for_each(|slot| bytes(slot, SLOT).fill(1));
    };
    dirty(256);
    slab.look();
    assert_eq!(slab.free().kept_bytes, 256 * SLOT, "all were wanted a moment ago");
    dirty(200);
    slab.look();
    assert_eq!(slab.free().kept_bytes, 200 * SLOT, "so were these");
    slab.look();
    assert_eq!(slab.free().kept_bytes, MIN_KEPT_BYTES);
    let mut slots: Vec<Slot> = (0..256).map(|_| slab.lend().unwrap()).collect();
    assert!(slots.iter_mut().all(|slot| bytes(slot, SLOT).iter().all(|byte| *byte == 0)));
}

#[test]
fn slots_that_are_to_be_emptied_are_lent_when_there_are_no_others() {
    let slab = Slab::new(3, 2 << 20, Some(Guards::probe())).unwrap();
    let mut slots: Vec<Slot> = (0..3).map(|_| slab.lend().unwrap()).collect();
    slots.iter_mut().for_each(|slot| bytes(slot, 2 << 20).fill(1));
    drop(slots);
    assert_eq!(slab.free().worn.len(), 3);
    let mut slots: Vec<Slot> = (0..3).map(|_| slab.lend().unwrap()).collect();
    assert!(slots.iter_mut().all(|slot| bytes(slot, 2 << 20).iter().all(|byte| *byte == 0)));
}

/// Mappings of this process that lie in the slab.
fn mappings(slab: &Slab) -> usize {
    let (start, end) = (slab.space.at(0).addr(), slab.space.at(0).addr() + slab.slots * (slab.slot_bytes + PAGE_BYTES));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let within = |line: &&str| {
        let address = line.split('-').next().and_then(|text| usize::from_str_radix(text, 16).ok()).unwrap();
        (start..=end).contains(&address)
    };
    maps.lines().filter(within).count()
}

#[test]
fn guards_that_are_marks_take_no_mappings_and_others_two_for_each_slot() {
    for guards in both() {
        let slab = Slab::new(1_000, 64 << 10, Some(guards)).unwrap();
        let slots: Vec<Slot> = (0..1_000).map(|_| slab.lend().unwrap()).collect();
        let found = mappings(&slab);
        match guards {
            // The slab's start may have been merged with a mapping before it.
            Guards::Markers => assert!(found <= 1, "{found}"),
            Guards::Protection => assert!((1_999..=2_001).contains(&found), "{found}"),
        }
        drop(slots);
    }
}

#[test]
fn more_address_space_than_there_is_can_not_be_had() {
    assert!(Slab::new(usize::MAX, PAGE_BYTES, None).is_err());
    assert!(Slab::new(1 << 20, 1 << 40, None).is_err());
}
