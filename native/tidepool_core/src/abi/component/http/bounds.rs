//! Bounds of what a guest may have in the host by `wasi:http`.

/// Most bytes of a guest's headers, or trailers, each.
pub(super) const FIELD_BYTES: usize = 32 << 10;
