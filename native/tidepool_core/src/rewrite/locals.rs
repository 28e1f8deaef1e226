//! A function's locals, and whether there is room for more.

use wasmparser::FunctionBody;

/// Most locals that a function may have, parameters included.
pub(super) const MAX_LOCALS: u32 = 50_000;

/// Bodies from here on come too near the most that they may have to become any longer, in bytes.
const LONG_BODY: usize = 7 << 20;

/// The locals of a function body.
pub(super) struct Locals {
    /// Where they are declared, their number first.
    pub(super) range: std::ops::Range<usize>,
    pub(super) groups: u32,
    /// How long that number is, in bytes.
    pub(super) number: usize,
    /// The index of a further one, if there may be one.
    pub(super) next: Option<u32>,
}

impl Locals {
    pub(super) fn of(body: &FunctionBody<'_>, params: Option<u32>) -> wasmparser::Result<Self> {
        let mut reader = body.get_locals_reader()?;
        let (start, groups, first) = (body.range().start, reader.get_count(), reader.original_position());
        let mut locals = params;
        for _ in 0..groups {
            let (count, _type) = reader.read()?;
            locals = locals.and_then(|locals| locals.checked_add(count));
        }
        let next = locals.filter(|locals| *locals < MAX_LOCALS && body.range().len() < LONG_BODY);
        Ok(Locals { range: start..reader.original_position(), groups, number: first - start, next })
    }
}
