//! Entries while a tape is taped: small ones as bytes, one after the other, as recordings have them; large ones as they are, so that
//! nothing large is copied but what is a part of something else.

use crate::recording::bytes::Writer;
use crate::recording::entry::Entry;

/// Entries of more bytes stay as they are.
const SMALL_BYTES: usize = 1 << 10;

/// Entries, in their order.
#[derive(Default)]
pub(super) struct Packed {
    small: Writer,
    /// The large ones, each with where it stands among the bytes of the small ones.
    large: Vec<(usize, Entry)>,
    count: usize,
}

/// A place among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    small: usize,
    large: usize,
    count: usize,
}

impl Mark {
    /// Bytes of small ones from here to there.
    pub(super) fn until(self, to: Self) -> usize {
        to.small.saturating_sub(self.small)
    }
}

impl Packed {
    /// None yet, in memory that was of others.
    pub(super) fn with(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Packed { small: Writer(memory), large: Vec::new(), count: 0 }
    }

    /// Its memory, for others.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.small.0
    }

    /// Its end.
    pub(super) fn end(&self) -> Mark {
        Mark { small: self.small.0.len(), large: self.large.len(), count: self.count }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds one; what it takes, in bytes.
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        self.count += 1;
        let (before, size) = (self.small.0.len(), entry.size());
        // What means nothing elsewhere is told apart when it is to be kept.
        if size <= SMALL_BYTES && entry.write(&mut self.small) {
            return self.small.0.len() - before;
        }
        self.small.0.truncate(before);
        let entry = entry.own();
        let size = entry.size();
        self.large.push((before, entry));
        size
    }

    /// What those between two places take, in bytes.
    pub(super) fn bytes(&self, from: Mark, to: Mark) -> usize {
        let large = self.large.get(from.large..to.large).unwrap_or_default();
        from.until(to) + large.iter().map(|(_before, entry)| entry.size()).sum::<usize>()
    }

    /// Writes those between two places, behind how many they are; `false` when one of them means nothing elsewhere. None is made anew for
    /// that: an entry has many times the bytes of a small one.
    pub(super) fn write(&self, from: Mark, to: Mark, writer: &mut Writer) -> bool {
        writer.size(to.count.saturating_sub(from.count));
        let small = |from: usize, to: usize| self.small.0.get(from..to).unwrap_or_default();
        let (mut at, mut is_complete) = (from.small, true);
        for (before, entry) in self.large.get(from.large..to.large).unwrap_or_default() {
            writer.raw(small(at, *before));
            is_complete &= entry.write(writer);
            at = *before;
        }
        writer.raw(small(at, to.small));
        is_complete
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::header::{ETAG, HeaderMap, HeaderValue};

    use super::*;
    use crate::recording::bytes::Reader;
    use crate::recording::entry::{Answer, Asked, Clock};
    use crate::recording::exchange::streams::{Said, Stream};

    #[test]
    fn a_piece_of_a_body_keeps_nothing_of_what_it_was_read_with() {
        let read: Arc<[u8]> = Arc::from(vec![7; 8_192]);
        let mut packed = Packed::default();
        for size in [10, 1_100, 4_000] {
            let piece = Bytes::from_owner(Arc::clone(&read)).slice(..size);
            assert!(packed.push(Entry::Said(Stream::Request, Said::Bytes(piece))) >= size);
        }
        assert_eq!(packed.large.len(), 2);
        assert_eq!(Arc::strong_count(&read), 1);
    }

    #[test]
    fn fields_behind_a_body_keep_nothing_of_what_they_were_read_with() {
        let read: Arc<[u8]> = Arc::from(vec![b'v'; 8_192]);
        let mut packed = Packed::default();
        for size in [10, 4_000] {
            let value = Bytes::from_owner(Arc::clone(&read)).slice(..size);
            let mut fields = HeaderMap::new();
            fields.insert(ETAG, HeaderValue::from_maybe_shared(value).unwrap());
            packed.push(Entry::Said(Stream::Trailers, Said::Trailers(fields)));
        }
        assert!(!packed.large.is_empty());
        assert_eq!(Arc::strong_count(&read), 1);
    }

    #[test]
    fn entries_are_written_as_they_were_pushed_wherever_one_begins() {
        let answered = |size: usize| {
            let asked = Asked::outside("here", &[&[1; 20], &vec![2; size]]);
            Entry::Answered { asked, answer: Answer::Bytes(Ok(vec![3; size].into())) }
        };
        let all = [
            Entry::Time { clock: Clock::Wall, ns: u64::MAX },
            answered(7),
            answered(70_000),
            Entry::Random(Bytes::from_static(b"0123")),
            answered(1_000),
            Entry::Refused { growth: 3 },
        ];
        let mut packed = Packed::default();
        let mut marks = vec![packed.end()];
        for entry in &all {
            let before = packed.end();
            let taken = packed.push(entry.clone());
            assert_eq!(packed.bytes(before, packed.end()), taken);
            marks.push(packed.end());
        }
        for (from, begin) in marks.iter().enumerate() {
            for (to, end) in marks.iter().enumerate().skip(from) {
                let mut writer = Writer::default();
                assert!(packed.write(*begin, *end, &mut writer));
                let written = Reader::of(writer.0.into()).several(Entry::read);
                assert_eq!(written.ok().as_deref(), all.get(from..to));
            }
        }
    }
}
