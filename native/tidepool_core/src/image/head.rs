//! The first bytes of an image: what it is of, and by what it is known to be as it was written.
//!
//! | bytes | |
//! | --- | --- |
//! | 0–3 | `TPIM` |
//! | 4–5 | the format |
//! | 6–37 | SHA-256 of the module |
//! | 38–53 | digest of all pieces, unpacked |
//! | 54–61 | the guest's monotonic clock, in ns |
//! | 62–77 | digest of bytes 0–61 |
//!
//! Numbers are little-endian. Pieces follow, as [`writer`](super::writer) says.

use super::ImageError;

const MAGIC: &[u8; 4] = b"TPIM";
const FORMAT: u16 = 1;
const CHECKED_BYTES: usize = 62;
pub(super) const BYTES: usize = 78;

/// 16 bytes of a BLAKE3 digest.
pub(crate) type Digest = [u8; 16];
/// The SHA-256 of a module.
pub(crate) type ModuleHash = [u8; 32];

/// What an image says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(super) module: ModuleHash,
    /// Of what it holds, but for the clock.
    pub(crate) digest: Digest,
    /// What the guest's monotonic clock said, in ns.
    pub(crate) clock_ns: u64,
}

impl Head {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.module);
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.clock_ns.to_le_bytes());
        let check = digest(bytes);
        bytes.extend_from_slice(&check);
    }

    /// Reads the head of an image of `module`.
    ///
    /// # Errors
    /// When it is damaged, of a later version, or another module's.
    pub(super) fn read(bytes: &[u8], module: &ModuleHash) -> Result<Self, ImageError> {
        let mut at = 0;
        let mut take = |count: usize| {
            let part = bytes.get(at..at + count);
            at += count;
            part.ok_or(ImageError::Damaged)
        };
        let (magic, format) = (take(4)?, array(take(2)?)?);
        if magic != MAGIC {
            return Err(ImageError::Damaged);
        }
        let head = Head {
            module: array(take(32)?)?,
            digest: array(take(16)?)?,
            clock_ns: u64::from_le_bytes(array(take(8)?)?),
        };
        if bytes.get(..CHECKED_BYTES).map(digest) != Some(array(take(16)?)?) {
            return Err(ImageError::Damaged);
        }
        match u16::from_le_bytes(format) {
            FORMAT => {}
            found => return Err(ImageError::Newer { found, known: FORMAT }),
        }
        if head.module != *module { Err(ImageError::Foreign) } else { Ok(head) }
    }
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut digest);
    digest
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ImageError> {
    bytes.try_into().map_err(|_length| ImageError::Damaged)
}
