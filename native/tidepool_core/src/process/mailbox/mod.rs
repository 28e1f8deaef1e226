//! A mailbox: messages in the order of their arrival, and who waits for them, or for room.

mod senders;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use foldhash::fast::RandomState;

use self::senders::Senders;
use super::message::Message;

/// From so many messages on, those with tags are found by an index, which is made of these and kept up with each that comes: made of all
/// later, it would take as long as there are messages.
const INDEXED: usize = 32;
/// Tags that a wait keeps in place; with more of them it waits for whatever comes.
const TAGS: usize = 4;

/// The messages of one process that it has not received.
#[derive(Default)]
pub(super) struct Mailbox {
    /// In the order of their arrival, each with its number; those that were received out of it leave their place empty.
    arrivals: VecDeque<(u64, Option<Message>)>,
    /// The number of the next message.
    next: u64,
    /// How many of the places are empty.
    empty: usize,
    /// For each tag the numbers of the messages with it, the oldest first, since there were many.
    index: Option<Index>,
    bytes: usize,
    wanted: WantedTags,
    waker: Option<Waker>,
    /// Who waits for room.
    senders: Senders,
}

/// What the owner waits for.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum WantedTags {
    #[default]
    Nothing,
    Anything,
    Tags([i64; TAGS]),
}

impl WantedTags {
    fn has(self, tag: Option<i64>) -> bool {
        match self {
            WantedTags::Nothing => false,
            WantedTags::Anything => true,
            WantedTags::Tags(tags) => tag.is_some_and(|tag| tags.contains(&tag)),
        }
    }
}

impl Mailbox {
    /// How many messages there are.
    pub(super) fn len(&self) -> usize {
        self.arrivals.len() - self.empty
    }

    /// All of them, in the order of their arrival.
    pub(super) fn all(&self) -> impl Iterator<Item = &Message> {
        self.arrivals.iter().filter_map(|(_, message)| message.as_ref())
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is there room for `more` bytes beside what there is, within `bound`?
    pub(super) fn fits(&self, more: usize, bound: usize) -> bool {
        self.bytes.saturating_add(more) <= bound
    }

    /// Would the owner receive this before all that there is? Then it gets in, however full the mailbox is.
    pub(super) fn is_next(&self, tag: Option<i64>) -> bool {
        self.len() == 0 || self.wanted.has(tag)
    }

    /// Adds a message; who is to be woken.
    pub(super) fn push(&mut self, message: Message) -> Option<Waker> {
        let tag = message.tag();
        self.bytes += message.bytes();
        let number = self.next;
        self.next += 1;
        self.arrivals.push_back((number, Some(message)));
        if let Some(index) = &mut self.index {
            add(index, number, tag);
        } else if self.arrivals.len() >= INDEXED {
            self.index = Some(index(&self.arrivals));
        }
        if !self.wanted.has(tag) {
            return None;
        }
        self.wanted = WantedTags::Nothing;
        self.waker.clone()
    }

    /// The oldest message, or the oldest with one of `tags` if there are any. Tag 0 is none.
    pub(super) fn take(&mut self, tags: &[i64]) -> Option<Message> {
        let place = if tags.is_empty() { (self.len() > 0).then_some(0) } else { self.find(tags) }?;
        let message = self.arrivals.get_mut(place)?.1.take()?;
        self.bytes -= message.bytes();
        self.forget(message.tag());
        self.empty += 1;
        self.tidy();
        Some(message)
    }

    /// Is there a message that [`Mailbox::take`] would take?
    pub(super) fn has(&self, tags: &[i64]) -> bool {
        if tags.is_empty() { self.len() > 0 } else { self.find(tags).is_some() }
    }

    fn find(&self, tags: &[i64]) -> Option<usize> {
        let Some(index) = &self.index else {
            let has = |message: &Message| message.tag().is_some_and(|tag| tags.contains(&tag));
            return self.arrivals.iter().position(|(_, message)| message.as_ref().is_some_and(has));
        };
        let oldest = tags.iter().filter_map(|tag| index.get(tag)?.front()).min()?;
        self.arrivals.binary_search_by_key(oldest, |(number, _)| *number).ok()
    }

    /// The oldest message with this tag has been taken: it is always the oldest, whatever it was taken by.
    fn forget(&mut self, tag: Option<i64>) {
        if let (Some(index), Some(tag)) = (&mut self.index, tag)
            && let Entry::Occupied(mut numbers) = index.entry(tag)
        {
            numbers.get_mut().pop_front();
            if numbers.get().is_empty() {
                numbers.remove();
            }
        }
    }

    /// The first place is never empty, and no more than half of many are.
    fn tidy(&mut self) {
        while matches!(self.arrivals.front(), Some((_, None))) {
            self.arrivals.pop_front();
            self.empty -= 1;
        }
        if self.arrivals.is_empty() {
            self.index = None;
            if self.arrivals.capacity() > INDEXED {
                self.arrivals = VecDeque::new();
            }
            return;
        }
        if self.empty > INDEXED && self.empty * 2 > self.arrivals.len() {
            self.arrivals.retain(|(_, message)| message.is_some());
            self.empty = 0;
        }
        // Room that is not counted any more.
        if let Some(room) = to_shrink_to(self.arrivals.capacity(), self.arrivals.len()) {
            self.arrivals.shrink_to(room);
        }
        if let Some(index) = &mut self.index
            && let Some(room) = to_shrink_to(index.capacity(), index.len())
        {
            index.shrink_to(room);
        }
    }

    /// Has the owner woken by the next message that it can receive with `tags`.
    pub(super) fn wait(&mut self, tags: &[i64], waker: &Waker) {
        self.wanted = match tags {
            [] => WantedTags::Anything,
            tags if tags.len() <= TAGS => {
                let mut kept = [0; TAGS];
                kept.iter_mut().zip(tags).for_each(|(kept, tag)| *kept = *tag);
                WantedTags::Tags(kept)
            }
            _ => WantedTags::Anything,
        };
        if !self.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// The owner doesn't wait any more.
    pub(super) fn stop_waiting(&mut self) {
        self.wanted = WantedTags::Nothing;
    }

    /// The owner's waker, when it waits for messages at all.
    pub(super) fn rouse(&mut self) -> Option<Waker> {
        if self.wanted == WantedTags::Nothing { None } else { self.waker.clone() }
    }

    /// Has the sender of a message of so many bytes, with this tag, woken when there is room: at the place that it has, or a new one.
    pub(super) fn wait_for_room(&mut self, place: &mut Option<u64>, message: (usize, Option<i64>), waker: &Waker) {
        self.senders.wait(place, message, waker);
    }

    /// A sender that had waited waits no more; `true` when it had been woken.
    pub(super) fn leave(&mut self, place: u64) -> bool {
        self.senders.leave(place)
    }

    /// The senders that are to look now whether there is room within `bound`: as many as there is room for, the oldest first. Where the
    /// owner waits, one that has what it waits for as well.
    pub(super) fn rouse_senders(&mut self, bound: usize) -> Vec<Waker> {
        let (room, wanted) = (bound.saturating_sub(self.bytes), self.wanted);
        let mut wakers = self.senders.rouse(room, self.len() == 0);
        let is_choosy = match wanted {
            WantedTags::Nothing => false,
            WantedTags::Anything => self.len() > 0,
            WantedTags::Tags(_) => true,
        };
        if is_choosy {
            wakers.extend(self.senders.rouse_wanted(|tag| wanted.has(tag)));
        }
        wakers
    }

    /// All of them: the owner has ended.
    pub(super) fn end_senders(&mut self) -> Vec<Waker> {
        self.senders.end()
    }

    /// How many wait for room.
    #[cfg(test)]
    pub(super) fn senders(&self) -> usize {
        self.senders.len()
    }
}

type Index = HashMap<i64, VecDeque<u64>, RandomState>;

fn index(arrivals: &VecDeque<(u64, Option<Message>)>) -> Index {
    let mut index = Index::default();
    for (number, message) in arrivals {
        add(&mut index, *number, message.as_ref().and_then(Message::tag));
    }
    index
}

/// To how many places so many are to be brought, of which few are taken.
fn to_shrink_to(places: usize, taken: usize) -> Option<usize> {
    (places > 4 * taken.max(INDEXED)).then_some(2 * taken)
}

fn add(index: &mut Index, number: u64, tag: Option<i64>) {
    if let Some(tag) = tag {
        index.entry(tag).or_default().push_back(number);
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
