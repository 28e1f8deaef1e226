//! Digests by which rows are known to be what was written.

/// 16 bytes of a BLAKE3 digest: found by chance never, and no defence against who may write to the file.
pub(crate) type Mark = [u8; 16];

/// A hasher for one purpose, whose digests are no other's.
pub(crate) fn hasher(purpose: &str) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"tidepool records ").update(purpose.as_bytes()).update(&[0]);
    hasher
}

pub(crate) fn finish(hasher: &blake3::Hasher) -> Mark {
    let mut mark = [0; 16];
    hasher.finalize_xof().fill(&mut mark);
    mark
}

/// The sum of marks, in any order: what was added once more is gone.
pub(crate) fn xor(left: Mark, right: Mark) -> Mark {
    std::array::from_fn(|at| left.get(at).unwrap_or(&0) ^ right.get(at).unwrap_or(&0))
}

/// The mark of a chain of images when `bytes` follow those that had the mark `before`.
pub(crate) fn chain(before: Option<Mark>, bytes: &[u8]) -> Mark {
    let mut hasher = hasher("image");
    hasher.update(&before.unwrap_or_default()).update(bytes);
    finish(&hasher)
}

/// The mark of a value of the record with this id.
pub(crate) fn value(id: i64, key: &[u8], value: &[u8]) -> Mark {
    let mut hasher = hasher("value");
    hasher.update(&id.to_le_bytes()).update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    finish(&hasher)
}
