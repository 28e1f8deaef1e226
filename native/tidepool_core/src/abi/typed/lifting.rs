//! How much of what a guest has the engine copies at once, as values of its own: it can't be interrupted meanwhile.

use wasmtime::component::Val;

use crate::value::MAX_COUNT;

/// Bytes of values that may be lifted at once, beside their texts: [`MAX_COUNT`] of them.
const VALUES: usize = MAX_COUNT * size_of::<Val>();
/// Bytes of texts that may be lifted beside them: values may be there in their place, and all are lifted at once.
const MAX_TEXTS: u64 = 8 << 20;
/// The same of texts in UTF-16, which take eight times as long.
const MAX_UTF16_TEXTS: u64 = 1 << 20;

/// What of a component takes long to lift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lifting {
    /// Are there texts in UTF-16?
    pub(crate) utf16: bool,
    /// Does it give values to handlers that are told one by one, and not bytes and texts alone?
    pub(crate) values: bool,
}

impl Lifting {
    /// Bytes that may be lifted by what takes values, where so many are allowed.
    pub(crate) fn of_values(self, allowed: u64) -> usize {
        let texts = if self.utf16 { MAX_UTF16_TEXTS } else { MAX_TEXTS };
        of_bytes(allowed.min(texts))
    }

    /// The same of bytes and texts alone. Imports that are called meanwhile have the same bound.
    pub(crate) fn of_bytes(self, allowed: u64) -> usize {
        if self.values { self.of_values(allowed) } else { of_bytes(allowed) }
    }
}

fn of_bytes(allowed: u64) -> usize {
    usize::try_from(allowed).unwrap_or(usize::MAX).saturating_add(VALUES)
}
