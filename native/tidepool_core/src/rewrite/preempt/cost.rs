//! What instructions take at worst, in ns: a touch of memory is a page fault, a call of a host function a long one.

use wasmparser::Operator;

/// What code takes at worst, in ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Counted towards the next check.
    pub(super) check: u64,
    /// Counted towards the function's return.
    pub(super) tail: u64,
}

/// Most between two checks: a quarter of a first slice.
pub(super) const BUDGET: u64 = 250_000;
/// Most between the return of a call and that of its caller. A guest that unwinds all of its stack does so much for
/// each of its frames, of which 512 KiB hold 16,000.
pub(super) const TAIL_BUDGET: u64 = 100;
/// A call of a host function, those included that copy 64 KiB. One that does more yields.
pub(super) const IMPORT: Cost = Cost { check: BUDGET / 20, tail: BUDGET / 20 };
/// The same in a component, whose texts and lists are decoded before its host function has its turn: there is a check between each two.
pub(super) const COMPONENT_IMPORT: Cost = Cost { check: BUDGET / 2, tail: BUDGET / 2 };
/// The first touch of a page, and one that misses the caches.
const MEMORY: Cost = Cost { check: 500, tail: 10 };
/// A call into the engine.
const LIBCALL: Cost = Cost { check: 100, tail: 50 };
/// Changes the protection of pages, among all threads that do.
const MEMORY_GROW: Cost = Cost { check: 20_000, tail: 20_000 };
/// Writes all new elements: 65,536 take 200 µs.
const TABLE_GROW: Cost = Cost { check: BUDGET, tail: BUDGET };
/// What is left of a bulk instruction that is too short to be cut.
pub(super) const SHORT_BULK: Cost = Cost { check: 4_000, tail: 1_000 };
/// A bulk instruction that can't be cut.
const LONG_BULK: Cost = TABLE_GROW;

/// What `operator` takes, whose first byte is `opcode`. Calls of functions that are not imported take nothing by themselves:
/// they begin with a check. `values` is what a branch may carry at most.
pub(super) fn of(operator: &Operator<'_>, opcode: u8, values: u64) -> Cost {
    let plain = |ns| Cost { check: ns, tail: ns };
    match operator {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::End
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::BrTable { .. }
        | Operator::Return => return plain(1 + if values > MANY_VALUES { values } else { 0 }),
        Operator::MemoryGrow { .. } => return MEMORY_GROW,
        Operator::TableGrow { .. } => return TABLE_GROW,
        Operator::MemoryFill { .. }
        | Operator::MemoryCopy { .. }
        | Operator::MemoryInit { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } => return LONG_BULK,
        Operator::CallIndirect { .. } | Operator::CallRef { .. } => return LIBCALL,
        _ => {}
    }
    match opcode {
        // Constants, locals, globals, drop, select.
        0x00..=0x0F | 0x1A..=0x1C | 0x20..=0x24 | 0x41..=0x44 => plain(1),
        // Divisions and remainders.
        0x6D..=0x70 | 0x7F..=0x82 => plain(15),
        // Comparisons and integer arithmetic.
        0x45..=0x6C | 0x71..=0x7E | 0x83..=0x8A => plain(2),
        // Tables, whose elements are made when they are first asked for.
        0x25 | 0x26 | 0xD2 => LIBCALL,
        0x28..=0x3E => MEMORY,
        // Vectors: with those that touch memory.
        0xFD => MEMORY,
        // Floats, conversions, and what there may be yet.
        _ => plain(20),
    }
}

/// Branches that carry up to this many values take no longer for it.
const MANY_VALUES: u64 = 16;
