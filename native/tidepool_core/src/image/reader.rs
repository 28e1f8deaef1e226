//! Reading an image. Nothing of it is believed: what it says is held against its bytes and against the size of the memory, and at the
//! end all of it against its digest.

use std::ops::Range;

use wasmtime::Val;

use super::ImageError;
use super::head::{self, Digest, Head, ModuleHash};
use super::numbers::Bytes;
use super::writer::PIECE_BYTES;

/// An image whose head has been read.
pub(crate) struct Image {
    bytes: bytes::Bytes,
    head: Head,
}

impl Image {
    /// The image in `bytes`, if it is one of `module`.
    ///
    /// # Errors
    /// When its head says that it is not, or is damaged. The rest is looked at when it is read.
    pub(crate) fn of(bytes: bytes::Bytes, module: &ModuleHash) -> Result<Self, ImageError> {
        let head = Head::read(&bytes, module)?;
        Ok(Image { bytes, head })
    }

    /// What the guest's monotonic clock said, in ns.
    pub(crate) fn clock_ns(&self) -> u64 {
        self.head.clock_ns
    }

    /// Tells what it holds from all else.
    pub(crate) fn digest(&self) -> Digest {
        self.head.digest
    }

    /// Reads what it holds.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces {
            rest: Bytes(self.bytes.get(head::BYTES..).unwrap_or_default()),
            hasher: blake3::Hasher::new(),
            expected: self.head.digest,
            unpacked: vec![0; PIECE_BYTES],
            told: None,
            at: 0,
        }
    }
}

/// The pieces of an image, one after the other.
pub(crate) struct Pieces<'a> {
    rest: Bytes<'a>,
    hasher: blake3::Hasher,
    expected: Digest,
    unpacked: Vec<u8>,
    /// What of it has yet to be told of.
    told: Option<Range<usize>>,
    /// Where the last run ended.
    at: usize,
}

/// What the first piece begins with.
pub(crate) struct State {
    pub(crate) memory_bytes: usize,
    pub(crate) globals: Vec<Val>,
}

impl Pieces<'_> {
    /// Size of the memory, and globals. Is to be called once, before [`Pieces::next`].
    pub(crate) fn state(&mut self) -> Result<State, ImageError> {
        let length = self.unpack()?;
        let unpacked = self.unpacked.get(..length).unwrap_or_default();
        let mut bytes = Bytes(unpacked);
        let (memory_bytes, count) = (bytes.number()?, bytes.number()?);
        // A value has two bytes and more, so the piece bounds how many there are.
        let globals = (0..count.min(length)).map(|_| bytes.value()).collect::<Result<Vec<_>, _>>()?;
        if globals.len() != count {
            return Err(ImageError::Damaged);
        }
        self.told = Some(length - bytes.0.len()..length);
        Ok(State { memory_bytes, globals })
    }

    /// Tells of the runs of the next piece: where each begins, and its bytes; `put` says whether it lies within the memory. `false`
    /// after the last one, when all was as it was written.
    pub(crate) fn next(&mut self, put: impl FnMut(usize, &[u8]) -> bool) -> Result<bool, ImageError> {
        let range = match self.told.take() {
            Some(left) => left,
            None if self.rest.is_empty() => return self.whole().map(|()| false),
            None => 0..self.unpack()?,
        };
        let unpacked = std::mem::take(&mut self.unpacked);
        let told = self.tell(unpacked.get(range).unwrap_or_default(), put);
        self.unpacked = unpacked;
        told.map(|()| true)
    }

    /// Was all that has been read what was written?
    fn whole(&self) -> Result<(), ImageError> {
        let mut digest = Digest::default();
        self.hasher.finalize_xof().fill(&mut digest);
        if digest == self.expected { Ok(()) } else { Err(ImageError::Damaged) }
    }

    fn tell(&mut self, unpacked: &[u8], mut put: impl FnMut(usize, &[u8]) -> bool) -> Result<(), ImageError> {
        let mut bytes = Bytes(unpacked);
        while !bytes.is_empty() {
            let start = self.at.checked_add(bytes.number()?).ok_or(ImageError::Damaged)?;
            let length = bytes.number()?;
            let run = bytes.take(length)?;
            if !put(start, run) {
                return Err(ImageError::Damaged);
            }
            self.at = start.checked_add(length).ok_or(ImageError::Damaged)?;
        }
        Ok(())
    }

    /// Unpacks the next piece; how long it is.
    fn unpack(&mut self) -> Result<usize, ImageError> {
        let (packed, length) = (self.rest.number()?, self.rest.number()?);
        let packed = self.rest.take(packed)?;
        let room = self.unpacked.get_mut(..length).ok_or(ImageError::Damaged)?;
        match lz4_flex::block::decompress_into(packed, room) {
            Ok(unpacked) if unpacked == length => {}
            _ => return Err(ImageError::Damaged),
        }
        self.hasher.update(room);
        Ok(length)
    }
}
