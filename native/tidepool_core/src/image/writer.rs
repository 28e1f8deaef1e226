//! Writing an image, or a change of one.
//!
//! What it holds, in pieces of [`PIECE_BYTES`] at most, each packed by itself, so that reading needs room for one: the size of the
//! memory and the globals first, then runs of bytes, each with its distance from the one before. A run lies within one piece. A piece
//! has two lengths before it, packed and unpacked; none is 0.
//!
//! Of what is large there is no more in memory than the image: it is told piece by piece, and each is packed when it is.

use std::ops::Range;

use wasmtime::Val;

use super::changed::changed;
use super::declared::Declared;
use super::head::{Digest, Digester, Head, ImageName, ModuleHash, digest};
use super::numbers::{self, Bytes, write};

/// Most bytes of a piece, unpacked. The globals of a module fit.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Room for the head of a run, and for so much of it that the head is worth it.
const RUN_BYTES: usize = 2 * numbers::MAX_BYTES + 64;

/// An instance that an image is to be made of.
pub(crate) struct Source<'a> {
    /// The size of its memory, and its globals, as they are written.
    state: Vec<u8>,
    memory: &'a [u8],
    declared: &'a Declared,
}

impl<'a> Source<'a> {
    /// One with these globals and this memory. `None` when a global holds a reference.
    pub(crate) fn of(globals: &[Val], memory: &'a [u8], declared: &'a Declared) -> Option<Self> {
        let mut state = Vec::new();
        write(memory.len() as u64, &mut state);
        write(globals.len() as u64, &mut state);
        for global in globals {
            if !numbers::write_value(global, &mut state) {
                return None;
            }
        }
        Some(Source { state, memory, declared })
    }

    pub(super) fn memory(&self) -> &'a [u8] {
        self.memory
    }

    /// How many bytes its contents are, and what tells them from all others. Nothing of them is kept.
    pub(super) fn measured(&self) -> (usize, Digest) {
        let (mut bytes, mut digester) = (0, Digester::default());
        self.each_piece(&mut |piece| {
            bytes += piece.len();
            digester.add(piece);
        });
        (bytes, digester.digest())
    }

    /// Its contents, which have this digest if that is known.
    pub(super) fn contents(&self, known: Option<Digest>) -> Contents {
        let mut runs = Runs::new(self.state.clone(), None);
        self.declared.differing(self.memory, &mut |run| runs.add(self.memory, run));
        let pieces = runs.close();
        let digest = known.unwrap_or_else(|| digest(&pieces.bytes));
        Contents { pieces, runs: self.state.len(), digest }
    }

    /// Its image, as that of an instance of `module`, without its contents beside it. `hold` makes room for so many bytes before they are
    /// there; `None` when there is none.
    pub(super) fn packed(
        &self,
        digest: Digest,
        (module, clock_ns): (ModuleHash, u64),
        hold: &mut dyn FnMut(usize) -> bool,
    ) -> Option<Vec<u8>> {
        let mut image = Growing { bytes: Vec::with_capacity(super::head::BYTES), hold, has_room: true };
        Head { module, digest, clock_ns }.write(&mut image.bytes);
        self.each_piece(&mut |piece| image.pack(piece));
        image.bytes.shrink_to_fit();
        image.has_room.then_some(image.bytes)
    }

    /// Tells of each piece of the contents, in order.
    fn each_piece(&self, told: &mut dyn FnMut(&[u8])) {
        let mut runs = Runs::new(self.state.clone(), Some(told));
        self.declared.differing(self.memory, &mut |run| runs.add(self.memory, run));
        runs.end_piece();
    }
}

/// An image that grows, each of whose bytes has room before it is there.
struct Growing<'a> {
    bytes: Vec<u8>,
    hold: &'a mut dyn FnMut(usize) -> bool,
    has_room: bool,
}

impl Growing<'_> {
    fn pack(&mut self, piece: &[u8]) {
        if !self.has_room {
            return;
        }
        let packed = lz4_flex::block::compress(piece);
        self.has_room = self.grow(packed.len() + 2 * numbers::MAX_BYTES);
        if self.has_room {
            write_piece(piece, &packed, &mut self.bytes);
        }
    }

    /// Makes room for so many bytes more: by a quarter of what there is, if there is room for that.
    fn grow(&mut self, bytes: usize) -> bool {
        if self.bytes.capacity() - self.bytes.len() >= bytes {
            return true;
        }
        let steps = [bytes.max(self.bytes.len() / 4), bytes];
        let Some(step) = steps.into_iter().find(|step| (self.hold)(self.bytes.len() + step)) else { return false };
        self.bytes.reserve_exact(step);
        true
    }
}

/// What an instance has that a new one has not, unpacked.
pub(crate) struct Contents {
    pieces: Pieces,
    /// Where the runs begin, in the bytes of all pieces.
    runs: usize,
    digest: Digest,
}

impl Contents {
    /// What of these, which `memory` has, is not as in those before.
    pub(super) fn since(&self, before: &Contents, memory: &[u8]) -> Pieces {
        let state = self.pieces.bytes.get(..self.runs).unwrap_or_default().to_vec();
        let mut runs = Runs::new(state, None);
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
            write_piece(piece, &lz4_flex::block::compress(piece), image);
            start = *end;
        }
    }
}

fn write_piece(piece: &[u8], packed: &[u8], image: &mut Vec<u8>) {
    for length in [packed.len(), piece.len()] {
        write(length as u64, image);
    }
    image.extend_from_slice(packed);
}

/// Hears of contents as they are made.
type Told<'a> = &'a mut dyn FnMut(&[u8]);

struct Runs<'a> {
    /// All pieces, or if each is told, the one that is not yet.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Where the last run ended.
    at: usize,
    told: Option<Told<'a>>,
}

impl<'a> Runs<'a> {
    fn new(state: Vec<u8>, told: Option<Told<'a>>) -> Self {
        Runs { bytes: state, ends: Vec::new(), at: 0, told }
    }

    fn end_piece(&mut self) {
        match &mut self.told {
            None => self.ends.push(self.bytes.len()),
            Some(told) => {
                told(self.bytes.as_slice());
                self.bytes.clear();
            }
        }
    }

    fn close(mut self) -> Pieces {
        self.end_piece();
        self.bytes.shrink_to_fit();
        Pieces { bytes: self.bytes, ends: self.ends }
    }

    fn add(&mut self, memory: &[u8], run: Range<usize>) {
        let mut rest = run;
        while !rest.is_empty() {
            let piece = self.ends.last().map_or(0, |end| *end);
            let mut room = PIECE_BYTES.saturating_sub(self.bytes.len() - piece);
            if room < RUN_BYTES {
                self.end_piece();
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
