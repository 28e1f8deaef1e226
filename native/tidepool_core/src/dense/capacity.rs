//! How many dense instances the machine has room for.

use std::fs;

use super::os::Guards;

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
    let by_memory = memory_bytes() / 2 / INSTANCE_BYTES;
    let by_mappings = match guards {
        Guards::Markers => usize::MAX,
        Guards::Protection => by_mappings(number("/proc/sys/vm/max_map_count").unwrap_or(65_530), fast_instances),
    };
    // Where the system promises no more than it has, address space counts as memory in use.
    let strict = number("/proc/sys/vm/overcommit_memory") == Some(2);
    let by_commitment = if strict { memory_bytes() / 4 / slot_bytes.max(1) } else { usize::MAX };
    by_memory.min(by_mappings).min(by_commitment).clamp(1, MOST)
}

/// What the other engine leaves. A tenth is kept for everything else: an allocator that is refused a mapping may end the
/// process.
fn by_mappings(max: usize, fast_instances: usize) -> usize {
    (max - max / 10).saturating_sub(fast_instances.saturating_mul(FAST_MAPPINGS)) / PROTECTED_MAPPINGS
}

/// The machine's memory, or the share of it that this process and its kin may use.
fn memory_bytes() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let share = number("/sys/fs/cgroup/memory.max");
    // Half a GiB where nobody says: few, but never too many.
    machine.into_iter().chain(share).min().unwrap_or(512 << 20)
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total_memory(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The number that is all of a file.
fn number(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_by_protection_leave_mappings_for_the_fast_engine_and_a_tenth_for_all_else() {
        assert_eq!(by_mappings(65_530, 0), 29_488);
        assert_eq!(by_mappings(65_530, 4_096), 15_152);
        assert_eq!(by_mappings(65_530, 16_000), 0);
    }

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:       24632900 kB\nMemFree: 1 kB\n"), Some(24_632_900 << 10));
        assert_eq!(total_memory("nothing of the kind"), None);
        assert!(memory_bytes() > 64 << 20);
    }

    #[test]
    fn there_is_room_for_one_instance_at_least_and_for_no_more_than_the_most() {
        assert_eq!(instances(Guards::Protection, 65 << 20, usize::MAX), 1);
        assert!(instances(Guards::Markers, 65 << 20, 4_096) <= MOST);
    }
}
