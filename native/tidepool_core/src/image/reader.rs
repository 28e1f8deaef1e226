//! Reading an image and the changes that follow it. Nothing of them is believed: what they say is held against their bytes and against
//! the size of the memory. A change is held against its digest before anything is done with it, and an image at its end.

use std::ops::Range;

use wasmtime::Val;

use super::ImageError;
use super::chain;
use super::head::{self, Digest, Head, ModuleHash};
use super::numbers::Bytes;
use super::writer::PIECE_BYTES;

/// An image whose head has been read, and the changes that follow it.
pub(crate) struct Image {
    bytes: bytes::Bytes,
    /// What its own pieces come to.
    written: Digest,
    /// Where they are, and then those of each change.
    links: Vec<Range<usize>>,
    digest: Digest,
    clock_ns: u64,
}

impl Image {
    /// The image in `bytes`, if it is one of `module`.
    ///
    /// # Errors
    /// When its head says that it is not, or is damaged; when one of its changes is, or is one of another image. The rest is looked at when
    /// it is read.
    pub(crate) fn of(bytes: bytes::Bytes, module: &ModuleHash) -> Result<Self, ImageError> {
        let (head, mut name) = Head::read(&bytes, module)?;
        let Head { mut digest, mut clock_ns, .. } = head;
        let mut end = pieces_end(&bytes, head::BYTES)?;
        let mut links: Vec<_> = std::iter::once(head::BYTES..end).collect();
        while end < bytes.len() {
            let start = end;
            // Its pieces are behind as many bytes as each change has before them.
            end = pieces_end(&bytes, start + chain::HEAD_BYTES)?;
            let change = chain::read(bytes.get(start..end).unwrap_or_default(), &name)?;
            (name, digest, clock_ns) = (change.name, change.digest, change.clock_ns);
            links.push(start + chain::HEAD_BYTES..end);
        }
        Ok(Image { written: head.digest, bytes, links, digest, clock_ns })
    }

    /// All of it, as it was read.
    pub(crate) fn shared(&self) -> bytes::Bytes {
        self.bytes.clone()
    }

    /// What the guest's monotonic clock said, in ns.
    pub(crate) fn clock_ns(&self) -> u64 {
        self.clock_ns
    }

    /// Tells what it holds from all else.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads what it holds: the image itself, and then each change.
    pub(crate) fn links(&self) -> impl Iterator<Item = Pieces<'_>> {
        let expected = std::iter::once(Some(self.written)).chain(std::iter::repeat(None));
        self.links.iter().zip(expected).map(|(link, expected)| Pieces {
            rest: Bytes(self.bytes.get(link.clone()).unwrap_or_default()),
            hasher: blake3::Hasher::new(),
            expected,
            unpacked: vec![0; PIECE_BYTES],
            told: None,
            at: 0,
        })
    }
}

/// Where the pieces end that begin there: at a change, or with the last of the bytes.
fn pieces_end(bytes: &[u8], start: usize) -> Result<usize, ImageError> {
    let mut rest = Bytes(bytes.get(start..).ok_or(ImageError::Damaged)?);
    while rest.first().is_some_and(|first| first != chain::MARK) {
        let (packed, unpacked) = (rest.number()?, rest.number()?);
        rest.take(packed)?;
        // One that adds nothing to what is held against the digest could be anything, such as a change whose mark is damaged.
        if unpacked == 0 {
            return Err(ImageError::Damaged);
        }
    }
    Ok(bytes.len() - rest.0.len())
}

/// The pieces of an image, or of a change, one after the other.
pub(crate) struct Pieces<'a> {
    rest: Bytes<'a>,
    hasher: blake3::Hasher,
    /// What all of them come to, if that is not known to be so.
    expected: Option<Digest>,
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
        if self.expected.is_none_or(|expected| digest == expected) { Ok(()) } else { Err(ImageError::Damaged) }
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
