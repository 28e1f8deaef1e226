//! Entries while a tape is taped: small ones as bytes, one after the other, as recordings have them; large ones as they are, so that
//! nothing large is copied.

use bytes::Bytes;

use crate::recording::bytes::{Reader, Writer};
use crate::recording::damaged::Damaged;
use crate::recording::entry::Entry;

/// Entries of more bytes stay as they are.
const SMALL_BYTES: usize = 1 << 10;
/// Stands among the small ones for the next of the large ones: no entry begins like that.
const LARGE: u8 = 0xff;

/// Entries, in their order.
#[derive(Default)]
pub(super) struct Packed {
    small: Writer,
    large: Vec<Entry>,
}

/// A place among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    small: usize,
    large: usize,
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
        Packed { small: Writer(memory), large: Vec::new() }
    }

    /// Its memory, for others.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.small.0
    }

    /// Its end.
    pub(super) fn end(&self) -> Mark {
        Mark { small: self.small.0.len(), large: self.large.len() }
    }

    /// Adds one; what it takes, in bytes.
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        let (before, size) = (self.small.0.len(), entry.size());
        // What means nothing elsewhere is told apart when it is to be kept.
        if size <= SMALL_BYTES && entry.write(&mut self.small) {
            return self.small.0.len() - before;
        }
        self.small.0.truncate(before);
        self.small.byte(LARGE);
        self.large.push(entry);
        size
    }

    /// What those between two places take, in bytes.
    pub(super) fn bytes(&self, from: Mark, to: Mark) -> usize {
        let large = self.large.get(from.large..to.large).unwrap_or_default();
        to.small.saturating_sub(from.small) + large.iter().map(Entry::size).sum::<usize>()
    }

    /// Those between two places.
    ///
    /// # Errors
    /// None, of places that were ends of it.
    pub(super) fn entries(&self, from: Mark, to: Mark) -> Result<Vec<Entry>, Damaged> {
        let small = self.small.0.get(from.small..to.small).ok_or(Damaged::Short)?;
        let mut large = self.large.get(from.large..to.large).ok_or(Damaged::Short)?.iter();
        let mut reader = Reader::of(Bytes::copy_from_slice(small));
        let mut entries = Vec::new();
        while let Some(first) = reader.rest.first() {
            if *first == LARGE {
                reader.byte()?;
                entries.push(large.next().cloned().ok_or(Damaged::Short)?);
            } else {
                entries.push(Entry::read(&mut reader)?);
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::entry::{Answer, Asked, Clock};

    #[test]
    fn entries_are_read_as_they_were_pushed_wherever_one_begins() {
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
            assert!(packed.bytes(before, packed.end()).abs_diff(taken) <= 1);
            marks.push(packed.end());
        }
        for (from, begin) in marks.iter().enumerate() {
            for (to, end) in marks.iter().enumerate().skip(from) {
                assert_eq!(packed.entries(*begin, *end).ok().as_deref(), all.get(from..to));
            }
        }
    }
}
