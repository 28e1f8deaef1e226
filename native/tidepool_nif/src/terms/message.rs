//! Messages from the VM's binaries: kept by reference when they are large, copied otherwise.

use std::ptr::NonNull;

use bytes::Bytes;
use rustler::{Binary, Encoder, OwnedEnv};

/// From this size on a copy costs more than the environment that keeps a binary.
const KEPT_BYTES: usize = 16 << 10;

/// The bytes of `binary`, for as long as they are needed, on whatever thread.
pub(crate) fn message(binary: Binary<'_>) -> Bytes {
    if binary.len() < KEPT_BYTES {
        return Bytes::copy_from_slice(binary.as_slice());
    }
    Kept::new(binary).map_or_else(|| Bytes::copy_from_slice(binary.as_slice()), Bytes::from_owner)
}

/// A binary with a term of its own, in an environment that no process has. So it stays when the caller has collected its
/// garbage or has died.
struct Kept {
    bytes: NonNull<[u8]>,
    /// Never used again: it is there to be dropped.
    _env: OwnedEnv,
}

// SAFETY: the bytes are read only, here and by everybody in the VM who refers to them: a binary to which its owner appends
// is not one any more once its term has been copied. The environment is freed once, by one thread, which may be any.
unsafe impl Send for Kept {}

impl Kept {
    /// `None` for a term that is no binary, which can't be.
    fn new(binary: Binary<'_>) -> Option<Self> {
        let env = OwnedEnv::new();
        let bytes = env.run(|own| {
            // Looked at where it has got to: a binary with room for more may move when its term is copied, and bytes that
            // don't begin at a byte's boundary are aligned in memory of the environment that they are looked at in.
            let copy = Binary::from_term(binary.encode(own)).ok()?;
            Some(NonNull::from(copy.as_slice()))
        })?;
        Some(Kept { bytes, _env: env })
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: they were inspected in the environment, which holds their binary, and live as long as it does.
        unsafe { self.bytes.as_ref() }
    }
}
