//! What imports do that become instructions, and what a module gets with them.

use wasmparser::FuncType;

/// What an import does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Returns the byte at an offset.
    Load8,
    /// Returns the eight bytes at an offset.
    Load64,
    /// Takes an offset and the byte to write there.
    Store8,
    /// Takes an offset and the eight bytes to write there.
    Store64,
    /// Returns the byte at an offset in a part of the memory, 0 outside of it.
    Within8,
    /// Returns the eight bytes at an offset in the part, 0 where they are not all in it.
    Within64,
}

/// Imports of one module that do such things, and how what is added is exported.
pub(crate) struct Plan {
    /// The import module.
    pub(crate) module: &'static str,
    /// Names in it.
    pub(crate) accesses: &'static [(&'static str, Access)],
    /// The memory.
    pub(crate) memory: &'static str,
    /// Pages that it begins with.
    pub(crate) pages: u64,
    /// Mutable globals, all `i64`: where the part begins, how long it is, and at how many places in it eight bytes can be read.
    pub(crate) part: [&'static str; 3],
    /// A mutable global, an `i64`: what is written begins before this offset. And the one that it begins with.
    pub(crate) end: (&'static str, i64),
}

impl Access {
    /// Is this the type of such an import?
    pub(super) fn has(self, ty: &FuncType) -> bool {
        use wasmparser::ValType::{I32, I64};
        let (params, results): (&[_], &[_]) = match self {
            Access::Load8 | Access::Within8 => (&[I64], &[I32]),
            Access::Load64 | Access::Within64 => (&[I64], &[I64]),
            Access::Store8 => (&[I64, I32], &[]),
            Access::Store64 => (&[I64, I64], &[]),
        };
        ty.params() == params && ty.results() == results
    }
}
