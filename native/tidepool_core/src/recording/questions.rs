//! What was asked in a recording, found by what that is: another version may ask it in whatever order. Whoever looks for a question among
//! all entries of a long call keeps its thread from all others for that time, as often as its guest asks one.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::entry::{Asked, Entry};
use super::taped::Taped;

/// Where questions stand, in the order of their hashes, and of those with the same one in that of the recording.
#[derive(Default)]
pub(crate) struct Questions {
    hasher: RandomState,
    places: Vec<Place>,
}

struct Place {
    /// Of the call and what was asked in it.
    hash: u64,
    /// Which entry of the call it is.
    entry: u32,
    /// How many of those with this hash are taken: the first one knows.
    taken: u32,
}

impl Questions {
    /// Those of a recording. It takes some ten ms for as many as a recording may have.
    pub(super) fn of(taped: &Taped) -> Self {
        let mut questions = Questions::default();
        questions.add(None, &taped.beginning);
        for (call, one) in taped.calls.iter().enumerate() {
            questions.add(Some(call), &one.entries);
        }
        questions.places.sort_unstable_by_key(|place| (place.hash, place.entry));
        questions
    }

    fn add(&mut self, call: Option<usize>, entries: &[Entry]) {
        for (at, entry) in entries.iter().enumerate() {
            if let Entry::Answered { asked, .. } = entry
                && let Ok(entry) = u32::try_from(at)
            {
                let hash = self.hasher.hash_one((call, asked));
                self.places.push(Place { hash, entry, taken: 0 });
            }
        }
    }

    /// Which entry of a call answers this question: each answers one, the first of them the first one.
    pub(super) fn take(&mut self, call: Option<usize>, asked: &Asked) -> Option<usize> {
        let hash = self.hasher.hash_one((call, asked));
        let first = self.places.partition_point(|place| place.hash < hash);
        let taken = usize::try_from(self.places.get(first)?.taken).ok()?;
        let entry = self.places.get(first.checked_add(taken)?).filter(|place| place.hash == hash)?.entry;
        let first = self.places.get_mut(first)?;
        first.taken = first.taken.saturating_add(1);
        usize::try_from(entry).ok()
    }
}
