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
//! The last of them is the image's name. Numbers are little-endian. Pieces follow, as [`writer`](super::writer) says, and then
//! changes, if there are any ([`chain`](super::chain)).

use super::ImageError;

const MAGIC: &[u8; 4] = b"TPIM";
const FORMAT: u16 = 1;
const CHECKED_BYTES: usize = 62;
pub(super) const BYTES: usize = 78;

/// 16 bytes of a BLAKE3 digest.
pub(crate) type Digest = [u8; 16];
/// What an image or a change is named by: a digest of all that it says.
pub(crate) type ImageName = [u8; 16];
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
    /// Writes it. Returns the name of the image.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) -> ImageName {
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.module);
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.clock_ns.to_le_bytes());
        let name = digest(bytes);
        bytes.extend_from_slice(&name);
        name
    }

    /// Reads the head of an image of `module`, and its name.
    ///
    /// # Errors
    /// When it is damaged, of a later version, or another module's.
    pub(super) fn read(bytes: &[u8], module: &ModuleHash) -> Result<(Self, ImageName), ImageError> {
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
        let name = array(take(16)?)?;
        if bytes.get(..CHECKED_BYTES).map(digest) != Some(name) {
            return Err(ImageError::Damaged);
        }
        match u16::from_le_bytes(format) {
            FORMAT => {}
            found => return Err(ImageError::Newer { found, known: FORMAT }),
        }
        if head.module != *module { Err(ImageError::Foreign) } else { Ok((head, name)) }
    }
}

/// The digest of bytes that are told one after the other.
#[derive(Default)]
pub(super) struct Digester(blake3::Hasher);

impl Digester {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.0.finalize_xof().fill(&mut digest);
        digest
    }
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    digest_of(&[bytes])
}

/// The digest of bytes that follow each other.
pub(super) fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut digester = Digester::default();
    parts.iter().for_each(|part| digester.add(part));
    digester.digest()
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ImageError> {
    bytes.try_into().map_err(|_length| ImageError::Damaged)
}
