//! Bounds of what a guest may have in the host by `wasi:http`.

/// Most bytes of a guest's headers, or trailers, each.
pub(super) const FIELD_BYTES: usize = 32 << 10;

/// Most bytes of one write to a body.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// Writes to a body that wait for who takes it, at most; wasmtime-wasi-http has room for one more.
pub(super) const CHUNKS: usize = 3;
/// Most bytes of a body that wait, with its trailers.
pub(super) const BODY_BYTES: usize = (CHUNKS + 1) * CHUNK_BYTES + FIELD_BYTES;
/// Most bytes of a body that have come and that nobody has read.
pub(super) const RECEIVED_BYTES: usize = 64 << 10;
/// What a request under way takes, with its body, its head, its trailers, and what its connection has.
pub(super) const SENT_BYTES: usize = 320 << 10;
