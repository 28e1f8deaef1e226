//! Binaries.

use bytes::Bytes;
use rustler::{Env, NewBinary, Resource, ResourceArc, Term};

/// From this size on a binary is handed over instead of copied.
pub(super) const LARGE_BYTES: usize = 4 << 10;

/// Bytes that a binary term points into.
struct BinaryBytes(Bytes);

#[rustler::resource_impl]
impl Resource for BinaryBytes {}

/// `bytes` as a binary.
pub(crate) fn binary(env: Env<'_>, bytes: Bytes) -> Term<'_> {
    if bytes.len() < LARGE_BYTES {
        return copy(env, &bytes);
    }
    ResourceArc::new(BinaryBytes(bytes)).make_binary(env, |shared| &shared.0).to_term(env)
}

/// A copy of `bytes` as a binary.
pub(crate) fn copy<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
