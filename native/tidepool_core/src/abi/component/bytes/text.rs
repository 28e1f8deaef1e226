//! Texts as guests have them, decoded in pieces: one that is long takes longer than a slice.

use std::mem;

use wasmtime::ValRaw;
use wasmtime::component::__internal::LiftContext;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;

use crate::os::buffers;
use crate::slice::yielding::yielded;

/// Bytes of a guest's that are decoded at once: 0.25 ms of UTF-16, which takes the longest.
pub(in crate::abi::component) const PIECE_BYTES: usize = 64 << 10;
/// In the length of a text by two encodings: it is the one of UTF-16.
pub(in crate::abi::component) const UTF16_TAG: u32 = 1 << 31;

/// The bytes of a text in a guest's memory.
pub(in crate::abi::component) struct Encoded {
    bytes: Vec<u8>,
    encoding: Encoding,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
    Latin1,
}

/// Where a text is, and its length, as a guest passes them.
pub(in crate::abi::component) fn of_flat(src: &[ValRaw; 2]) -> [u32; 2] {
    src.map(|part| part.get_u32())
}

/// The same as they are in its memory: there it is nowhere, and longer than any, where they are not.
pub(in crate::abi::component) fn of_memory(bytes: &[u8]) -> [u32; 2] {
    [bytes.first_chunk(), bytes.last_chunk()].map(|part| part.map_or(u32::MAX, |part| u32::from_le_bytes(*part)))
}

/// The text of a guest at this place, with this length, of which no more than the first piece is decoded.
///
/// # Errors
/// Stops a guest whose memory does not have it, or whose text is none of its encoding.
pub(in crate::abi::component) fn beginning(
    cx: &LiftContext<'_>,
    [place, length]: [u32; 2],
) -> wasmtime::Result<String> {
    let encoding = cx.options().string_encoding;
    Encoding::of(length, encoding).beginning(within(cx.memory(), place, bytes_of(length, encoding))?)
}

/// How many bytes a text of this length has.
fn bytes_of(length: u32, encoding: StringEncoding) -> Option<usize> {
    let count = usize::try_from(length & !UTF16_TAG).ok()?;
    match Encoding::of(length, encoding) {
        Encoding::Utf16 => count.checked_mul(2),
        Encoding::Utf8 => usize::try_from(length).ok(),
        Encoding::Latin1 => Some(count),
    }
}

fn within(memory: &[u8], place: u32, count: Option<usize>) -> wasmtime::Result<&[u8]> {
    let place = usize::try_from(place).ok();
    let bytes = place.zip(count).and_then(|(place, count)| memory.get(place..place.checked_add(count)?));
    bytes.ok_or_else(|| wasmtime::Error::msg("a text is out of the bounds of memory"))
}

impl Encoded {
    /// The text of a guest at this place, with this length.
    ///
    /// # Errors
    /// Stops a guest whose memory does not have it.
    pub(super) fn of(cx: &LiftContext<'_>, [place, length]: [u32; 2]) -> wasmtime::Result<Self> {
        let encoding = cx.options().string_encoding;
        Ok(Encoded::new(within(cx.memory(), place, bytes_of(length, encoding))?, length, encoding))
    }

    fn new(bytes: &[u8], length: u32, encoding: StringEncoding) -> Self {
        let mut copy = buffers::take(bytes.len());
        copy.extend_from_slice(bytes);
        Encoded { bytes: copy, encoding: Encoding::of(length, encoding) }
    }

    /// What it takes of the host's memory until it is decoded.
    pub(super) fn host_bytes(&self) -> usize {
        let decoded = match self.encoding {
            // It is the text, once all of it has been looked at.
            Encoding::Utf8 => 0,
            // Two bytes of it are up to three of UTF-8.
            Encoding::Utf16 => self.bytes.len() / 2 * 3,
            Encoding::Latin1 => self.bytes.len().saturating_mul(2),
        };
        self.bytes.len().saturating_add(decoded)
    }

    /// # Errors
    /// Stops a guest whose text is none of its encoding.
    pub(super) async fn decoded(mut self) -> wasmtime::Result<String> {
        let bytes = mem::take(&mut self.bytes);
        let is_as_it_is = self.encoding == Encoding::Utf8;
        let mut text = String::with_capacity(if is_as_it_is { 0 } else { bytes.len() });
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.encoding.end_of_piece(rest));
            self.encoding.decode(piece, &mut text)?;
            rest = after;
            yielded().await;
        }
        if is_as_it_is {
            // SAFETY: each piece of it is UTF-8, and nobody has changed it since.
            return Ok(unsafe { String::from_utf8_unchecked(bytes) });
        }
        buffers::give_back(bytes);
        Ok(text)
    }
}

impl Encoding {
    fn of(length: u32, encoding: StringEncoding) -> Self {
        match encoding {
            StringEncoding::Utf8 => Encoding::Utf8,
            StringEncoding::CompactUtf16 if length & UTF16_TAG == 0 => Encoding::Latin1,
            StringEncoding::Utf16 | StringEncoding::CompactUtf16 => Encoding::Utf16,
        }
    }

    fn beginning(self, bytes: &[u8]) -> wasmtime::Result<String> {
        let (piece, _rest) = bytes.split_at(self.end_of_piece(bytes));
        if self == Encoding::Utf8 {
            return Ok(std::str::from_utf8(piece)?.to_owned());
        }
        let mut text = String::new();
        self.decode(piece, &mut text)?;
        Ok(text)
    }

    /// Where a piece of `rest` ends, so that no character is in two.
    fn end_of_piece(self, rest: &[u8]) -> usize {
        if rest.len() <= PIECE_BYTES {
            return rest.len();
        }
        let is_begun = |end: &usize| match self {
            // A byte that goes on with a character has these two bits.
            Encoding::Utf8 => rest.get(*end).is_some_and(|byte| byte & 0xC0 == 0x80),
            // The second half of a pair.
            Encoding::Utf16 => rest.get(*end + 1).is_some_and(|byte| byte & 0xFC == 0xDC),
            Encoding::Latin1 => false,
        };
        let step = if self == Encoding::Utf16 { 2 } else { 1 };
        // A character has four bytes at most: where there are more, it is none.
        (0..4).step_by(step).map(|back| PIECE_BYTES - back).find(|end| !is_begun(end)).unwrap_or(PIECE_BYTES)
    }

    /// Appends a piece, unless it is UTF-8 already.
    fn decode(self, piece: &[u8], text: &mut String) -> wasmtime::Result<()> {
        match self {
            Encoding::Utf8 => drop(std::str::from_utf8(piece)?),
            Encoding::Latin1 => text.extend(piece.iter().copied().map(char::from)),
            Encoding::Utf16 => {
                let (units, _none) = piece.as_chunks::<2>();
                for character in char::decode_utf16(units.iter().copied().map(u16::from_le_bytes)) {
                    text.push(character?);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap or index fails the test")]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The text, and in how many pieces it was decoded.
    fn decoded(bytes: &[u8], length: u32, encoding: StringEncoding) -> (wasmtime::Result<String>, usize) {
        let mut decoding = pin!(Encoded::new(bytes, length, encoding).decoded());
        let mut pieces = 0;
        loop {
            match decoding.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(text) => return (text, pieces),
                Poll::Pending => pieces += 1,
            }
        }
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn a_text_is_the_same_wherever_its_pieces_end() {
        for character in ["a", "ü", "水", "🌊"] {
            for shift in 0..4 {
                let text = "x".repeat(shift) + &character.repeat(PIECE_BYTES);
                let length = u32::try_from(text.len()).unwrap();
                let (whole, pieces) = decoded(text.as_bytes(), length, StringEncoding::Utf8);
                assert!(whole.unwrap() == text && pieces >= text.len() / PIECE_BYTES, "{character} {shift}");
                let bytes = utf16(&text);
                let length = u32::try_from(bytes.len() / 2).unwrap();
                let (whole, pieces) = decoded(&bytes, length, StringEncoding::Utf16);
                assert!(whole.unwrap() == text && pieces >= bytes.len() / PIECE_BYTES, "{character} {shift}");
                let (whole, _pieces) = decoded(&bytes, length | UTF16_TAG, StringEncoding::CompactUtf16);
                assert!(whole.unwrap() == text, "{character} {shift}");
            }
        }
        let latin1: Vec<u8> = (0..=255).cycle().take(3 * PIECE_BYTES).collect();
        let length = u32::try_from(latin1.len()).unwrap();
        let (whole, pieces) = decoded(&latin1, length, StringEncoding::CompactUtf16);
        assert!(whole.unwrap().chars().map(u32::from).eq(latin1.iter().copied().map(u32::from)));
        assert_eq!(pieces, 3);
    }

    #[test]
    fn what_is_no_text_is_refused_wherever_its_pieces_end() {
        let mut cut = "水".repeat(PIECE_BYTES).into_bytes();
        for (at, byte) in [(PIECE_BYTES, 0xFF), (PIECE_BYTES - 1, 0xFF), (2 * PIECE_BYTES + 1, b'a')] {
            let was = std::mem::replace(&mut cut[at], byte);
            let length = u32::try_from(cut.len()).unwrap();
            assert!(decoded(&cut, length, StringEncoding::Utf8).0.is_err(), "{at}");
            cut[at] = was;
        }
        let continued = vec![0x80; 2 * PIECE_BYTES];
        assert!(decoded(&continued, 0, StringEncoding::Utf8).0.is_err());
        for half in [0xD800_u16, 0xDC00] {
            let halves: Vec<u8> = std::iter::repeat_n(half, PIECE_BYTES).flat_map(u16::to_le_bytes).collect();
            assert!(decoded(&halves, 0, StringEncoding::Utf16).0.is_err(), "{half:x}");
        }
        // A pair, each half in a piece of its own.
        let mut pair = [b'x', 0].repeat(PIECE_BYTES / 2 - 1);
        pair.extend(utf16("🌊"));
        pair.extend([b'x', 0].repeat(9));
        assert!(decoded(&pair, 0, StringEncoding::Utf16).0.unwrap().contains('🌊'));
    }

    #[test]
    fn a_length_is_one_of_bytes_or_of_pairs_as_the_encoding_is() {
        let of = bytes_of;
        assert_eq!(of(7, StringEncoding::Utf8), Some(7));
        assert_eq!(of(7, StringEncoding::Utf16), Some(14));
        assert_eq!(of(7, StringEncoding::CompactUtf16), Some(7));
        assert_eq!(of(7 | UTF16_TAG, StringEncoding::CompactUtf16), Some(14));
    }
}
