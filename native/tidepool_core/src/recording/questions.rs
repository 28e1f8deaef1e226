//! What was asked in a recording, found by what that is: another version may ask it in whatever order. Whoever looks for a question among
//! all entries of a long call keeps its thread from all others for that time, as often as its guest asks one; so does who enters a call,
//! or leaves it.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::entry::{Asked, Clock, Entry};
use super::exchange::streams::{Said, Stream};
use super::taped::Taped;

/// Where questions stand, in the order of their hashes, and of those with the same one in that of the recording.
#[derive(Default)]
pub(crate) struct Questions {
    hasher: RandomState,
    places: Vec<Place>,
    /// Of what an instance was told before its first call, and of each call.
    told: Vec<Told>,
}

/// Which entries of a call say what is told without a question, in their order, and which are the host's answers.
#[derive(Default)]
pub(super) struct Told {
    /// Looks at the clock of the day, and at the other.
    pub(super) looks: [VecDeque<u32>; 2],
    pub(super) random: VecDeque<u32>,
    /// Pieces of a request's body.
    pub(super) body: VecDeque<u32>,
    /// The ends of that body and of its trailers.
    pub(super) ends: [Option<u32>; 2],
    pub(super) answers: Vec<u32>,
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
        let mut told = Told::default();
        let Told { looks: [wall, monotonic], random, body, ends: [body_end, trailers_end], answers } = &mut told;
        for (at, entry) in (0..).zip(entries) {
            match entry {
                Entry::Answered { asked, .. } => {
                    let hash = self.hasher.hash_one((call, asked));
                    self.places.push(Place { hash, entry: at, taken: 0 });
                    answers.push(at);
                }
                Entry::Time { clock: Clock::Wall, .. } => wall.push_back(at),
                Entry::Time { clock: Clock::Monotonic, .. } => monotonic.push_back(at),
                Entry::Random(bytes) if !bytes.is_empty() => random.push_back(at),
                Entry::Said(Stream::Request, Said::Bytes(bytes)) if !bytes.is_empty() => body.push_back(at),
                Entry::Said(Stream::Request, said) if said.is_end() => *body_end = body_end.or(Some(at)),
                Entry::Said(Stream::Trailers, said) if said.is_end() => *trailers_end = trailers_end.or(Some(at)),
                _ => {}
            }
        }
        self.told.push(told);
    }

    /// What a call is told, which is entered once.
    pub(super) fn told(&mut self, call: Option<usize>) -> Told {
        self.told.get_mut(call.map_or(0, |call| call + 1)).map(std::mem::take).unwrap_or_default()
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
