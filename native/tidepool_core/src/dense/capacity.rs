//! How many dense instances the machine has room for.

use std::path::Path;

use super::os::Guards;
use crate::base::limits::further_stacks;
use crate::os::machine::{number, share};

/// Most that is chosen without being asked for: more address space than this takes is a decision.
const MOST: usize = 128 << 10;
/// What an instance with a page of memory takes while it waits for the host: 25 KiB of its own, and the process that
/// called it with its messages.
const INSTANCE_BYTES: usize = 48 << 10;
/// Mappings of an instance of the fast engine at most, memory and stack.
const FAST_MAPPINGS: usize = 7;
/// Mappings of a guarded stack where guards are made by protection: the stack and its guard.
const PROTECTED_MAPPINGS: usize = 2;

/// As many instances as half of the memory holds, in no more mappings and committed memory than the system allows.
pub(super) fn instances(guards: Guards, slot_bytes: usize, fast_instances: usize) -> usize {
    let memory_bytes = usize::try_from(share().memory_bytes).unwrap_or(usize::MAX);
    let by_memory = memory_bytes / 2 / INSTANCE_BYTES;
    let by_mappings = match guards {
        Guards::Markers => usize::MAX,
        Guards::Protection => {
            by_mappings(number(Path::new("/proc/sys/vm/max_map_count")).unwrap_or(65_530), fast_instances)
        }
    };
    // Where the system promises no more than it has, address space counts as memory in use.
    let strict = number(Path::new("/proc/sys/vm/overcommit_memory")) == Some(2);
    let by_commitment = if strict { memory_bytes / 4 / slot_bytes.max(1) } else { usize::MAX };
    by_memory.min(by_mappings).min(by_commitment).clamp(1, MOST)
}

/// What the other engine leaves, and a ninth of that for stacks beside those of instances, if not the fewest that there are. A tenth is kept for everything else: an
/// allocator that is refused a mapping may end the process.
fn by_mappings(max: usize, fast_instances: usize) -> usize {
    let further = further_stacks(fast_instances).saturating_mul(PROTECTED_MAPPINGS);
    let fast = fast_instances.saturating_mul(FAST_MAPPINGS).saturating_add(further);
    let stacks = (max - max / 10).saturating_sub(fast) / PROTECTED_MAPPINGS;
    stacks.saturating_sub((stacks / 9).max(further_stacks(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_by_protection_leave_mappings_for_the_fast_engine_and_a_tenth_for_all_else() {
        assert_eq!(by_mappings(65_530, 0), 26_155);
        assert_eq!(by_mappings(65_530, 4_096), 13_014);
        assert_eq!(by_mappings(65_530, 16_000), 0);
    }

    #[test]
    fn there_is_room_for_one_instance_at_least_and_for_no_more_than_the_most() {
        assert_eq!(instances(Guards::Protection, 65 << 20, usize::MAX), 1);
        assert!(instances(Guards::Markers, 65 << 20, 4_096) <= MOST);
    }
}
