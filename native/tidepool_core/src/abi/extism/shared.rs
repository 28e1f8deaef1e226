//! What plug-in and host share: a memory, and what of it is input, output and error.

use std::ops::Range;

use wasmtime::{Extern, Global, Memory};

use super::blocks::{Blocks, FIRST};
use crate::rewrite::inline::{Access, Plan};

/// Import module of what plug-ins ask of their host.
pub(super) const MODULE: &str = "extism:host/env";

/// What of that becomes instructions.
pub(super) const PLAN: Plan = Plan {
    module: MODULE,
    accesses: &[
        ("load_u8", Access::Load8),
        ("load_u64", Access::Load64),
        ("store_u8", Access::Store8),
        ("store_u64", Access::Store64),
        ("input_load_u8", Access::Within8),
        ("input_load_u64", Access::Within64),
    ],
    memory: "tidepool:extism",
    // Short calls don't have it grow, which is what they would take longest for.
    pages: 1,
    part: ["tidepool:extism_input", "tidepool:extism_input_length", "tidepool:extism_input_places"],
    end: ("tidepool:extism_blocks_end", FIRST as i64),
};

/// Where no block was freed.
pub(super) const NONE: Range<usize> = Range { start: usize::MAX, end: 0 };

/// The memory, and what is where in it. Outside of blocks that are there, or were there in this call, it is zeros when a call begins:
/// nothing is written elsewhere, but before the first of them, where kits write what a block of nothing has, and for seven bytes behind
/// the last.
pub(crate) struct Kernel {
    pub(super) memory: Memory,
    /// The input, as the instructions know it: [`Plan::part`].
    pub(super) part: [Global; 3],
    /// Where the blocks end, as the instructions know it: [`Plan::end`].
    pub(super) end: Global,
    pub(super) blocks: Blocks,
    /// Where blocks have ended that are forgotten and whose bytes are still there; 0 where there were none.
    pub(super) used: u32,
    /// Where blocks were that are freed; what they have held is there still.
    pub(super) freed: Range<usize>,
    pub(super) input: Span,
    pub(super) output: Span,
    /// The block that holds the error's text; 0 when there is none.
    pub(super) error: u64,
}

/// A part of the memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Kernel {
    /// That of an instance, by its exports.
    pub(super) fn of(mut export: impl FnMut(&str) -> Option<Extern>) -> Option<Self> {
        let memory = export(PLAN.memory)?.into_memory()?;
        let [start, length, places] = PLAN.part.map(|name| export(name).and_then(Extern::into_global));
        let part = [start?, length?, places?];
        let end = export(PLAN.end.0)?.into_global()?;
        let (blocks, input, output) = (Blocks::default(), Span::default(), Span::default());
        Some(Kernel { memory, part, end, blocks, used: 0, freed: NONE, input, output, error: 0 })
    }

    /// Frees the block that begins there, if one does: what it has held is for nobody who takes its room.
    pub(super) fn release(&mut self, offset: u64) -> bool {
        let Some(block) = self.blocks.find(offset) else { return false };
        let (start, end) = (block.offset as usize, block.end() as usize);
        self.freed = self.freed.start.min(start)..self.freed.end.max(end);
        self.blocks.release(offset)
    }
}
