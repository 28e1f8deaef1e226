//! Writing an image, or a change of one.
//!
//! What it holds, in pieces of [`PIECE_BYTES`] at most, each packed by itself, so that reading needs room for one: the size of the
//! memory and the globals first, then runs of bytes, each with its distance from the one before. A run lies within one piece. A piece
//! has two lengths before it, packed and unpacked; none is 0.

use std::ops::Range;

use wasmtime::Val;

use super::changed::changed;
use super::declared::Declared;
use super::head::{Digest, Head, ImageName, ModuleHash, digest};
use super::numbers::{self, Bytes, write};

/// Most bytes of a piece, unpacked. The globals of a module fit.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Room for the head of a run, and for so much of it that the head is worth it.
const RUN_BYTES: usize = 2 * numbers::MAX_BYTES + 64;

/// What an instance has that a new one has not, unpacked.
pub(crate) struct Contents {
    pieces: Pieces,
    /// Where the runs begin, in the bytes of all pieces.
    runs: usize,
    digest: Digest,
}

impl Contents {
    /// Those of an instance with these globals and this memory. `None` when a global holds a reference.
    pub(crate) fn of(globals: &[Val], memory: &[u8], declared: &Declared) -> Option<Self> {
        let mut bytes = Vec::new();
        write(memory.len() as u64, &mut bytes);
        write(globals.len() as u64, &mut bytes);
        for global in globals {
            if !numbers::write_value(global, &mut bytes) {
                return None;
            }
        }
        let begin = bytes.len();
        let mut runs = Runs { bytes, ends: Vec::new(), at: 0 };
        declared.differing(memory, &mut |run| runs.add(memory, run));
        let pieces = runs.close();
        let digest = digest(&pieces.bytes);
        Some(Contents { pieces, runs: begin, digest })
    }

    /// What of these, which `memory` has, is not as in those before.
    pub(super) fn since(&self, before: &Contents, memory: &[u8]) -> Pieces {
        let state = self.pieces.bytes.get(..self.runs).unwrap_or_default().to_vec();
        let mut runs = Runs { bytes: state, ends: Vec::new(), at: 0 };
        changed(before.runs(), self.runs(), &mut |run| runs.add(memory, run));
        runs.close()
    }

    fn runs(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let (mut bytes, mut at) = (Bytes(self.pieces.bytes.get(self.runs..).unwrap_or_default()), 0);
        std::iter::from_fn(move || {
            let start = at + bytes.number().ok()?;
            let length = bytes.number().ok()?;
            at = start + length;
            Some((start, bytes.take(length).ok()?))
        })
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.bytes.len()
    }

    /// Tells these contents from all others.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The image of an instance of `module` with these contents, and its name.
    pub(crate) fn packed(&self, module: ModuleHash, clock_ns: u64) -> (Vec<u8>, ImageName) {
        let mut image = Vec::with_capacity(super::head::BYTES + self.len() / 2);
        let name = Head { module, digest: self.digest, clock_ns }.write(&mut image);
        self.pieces.pack(&mut image);
        (image, name)
    }
}

/// The state of an instance and runs of its memory, in pieces.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Pieces {
    /// Packs each, and writes them after what there is.
    pub(super) fn pack(&self, image: &mut Vec<u8>) {
        let mut start = 0;
        for end in &self.ends {
            let piece = self.bytes.get(start..*end).unwrap_or_default();
            let packed = lz4_flex::block::compress(piece);
            for length in [packed.len(), piece.len()] {
                write(length as u64, image);
            }
            image.extend(packed);
            start = *end;
        }
    }
}

struct Runs {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where the last run ended.
    at: usize,
}

impl Runs {
    fn close(mut self) -> Pieces {
        self.ends.push(self.bytes.len());
        self.bytes.shrink_to_fit();
        Pieces { bytes: self.bytes, ends: self.ends }
    }

    fn add(&mut self, memory: &[u8], run: Range<usize>) {
        let mut rest = run;
        while !rest.is_empty() {
            let piece = self.ends.last().map_or(0, |end| *end);
            let mut room = PIECE_BYTES.saturating_sub(self.bytes.len() - piece);
            if room < RUN_BYTES {
                self.ends.push(self.bytes.len());
                room = PIECE_BYTES;
            }
            let end = rest.end.min(rest.start + room - 2 * numbers::MAX_BYTES);
            write((rest.start - self.at) as u64, &mut self.bytes);
            write((end - rest.start) as u64, &mut self.bytes);
            self.bytes.extend_from_slice(memory.get(rest.start..end).unwrap_or_default());
            (self.at, rest.start) = (end, end);
        }
    }
}
