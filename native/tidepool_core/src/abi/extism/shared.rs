//! What plug-in and host share: a memory, and what of it is input, output and error.

use wasmtime::{Extern, Global, Memory};

use super::blocks::Blocks;
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
};

/// The memory, and what is where in it.
pub(crate) struct Kernel {
    pub(super) memory: Memory,
    /// The input, as the instructions know it: [`Plan::part`].
    pub(super) part: [Global; 3],
    pub(super) blocks: Blocks,
    /// Bytes before this are zeros, but for what the plug-in has written in this call.
    pub(super) clean: usize,
    /// So are those from here on. Between the two there may be anything of an earlier time.
    pub(super) used: usize,
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
        let (input, output) = (Span::default(), Span::default());
        Some(Kernel { memory, part, blocks: Blocks::default(), clean: 0, used: 0, input, output, error: 0 })
    }

    /// Frees the block that begins there, if one does: what it has held is for nobody who takes its room.
    pub(super) fn release(&mut self, offset: u64) -> bool {
        let Some(block) = self.blocks.find(offset) else { return false };
        self.clean = self.clean.min(block.offset as usize);
        self.used = self.used.max(block.end() as usize);
        self.blocks.release(offset)
    }
}
