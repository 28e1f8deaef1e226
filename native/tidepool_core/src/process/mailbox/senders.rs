//! Who waits for room in a mailbox: first come, first served, and no more of them woken at a time than there is room for.

use std::collections::BTreeMap;
use std::task::Waker;

/// Senders that wait, by the numbers of their places: those that came first have the lowest.
#[derive(Default)]
pub(super) struct Senders {
    waiting: BTreeMap<u64, Sender>,
    /// Bytes that those want who were woken and have not looked since.
    woken: BTreeMap<u64, usize>,
    /// All of these together.
    promised: usize,
    next: u64,
}

struct Sender {
    waker: Waker,
    bytes: usize,
    tag: Option<i64>,
}

impl Senders {
    /// Has a sender of so many bytes, with this tag, woken when there is room: at the place that it has, or behind all others.
    pub(super) fn wait(&mut self, place: &mut Option<u64>, (bytes, tag): (usize, Option<i64>), waker: &Waker) {
        let number = *place.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.look(number);
        self.waiting.insert(number, Sender { waker: waker.clone(), bytes, tag });
    }

    /// Its sender waits no more; `true` when it was woken, so that another may have the room that it was woken for.
    pub(super) fn leave(&mut self, place: u64) -> bool {
        self.waiting.remove(&place);
        self.look(place)
    }

    /// One that was woken looks; `false` when it was not.
    fn look(&mut self, place: u64) -> bool {
        let bytes = self.woken.remove(&place);
        self.promised = self.promised.saturating_sub(bytes.unwrap_or_default());
        bytes.is_some()
    }

    /// The next ones that are to look: as many as `room` is for, of which those that were woken before have their part, and in an empty
    /// mailbox one at least.
    pub(super) fn rouse(&mut self, room: usize, is_empty: bool) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some((number, sender)) = self.waiting.first_key_value() {
            let is_alone = is_empty && self.woken.is_empty();
            if !is_alone && self.promised.saturating_add(sender.bytes) > room {
                break;
            }
            let number = *number;
            wakers.extend(self.wake(number));
        }
        wakers
    }

    /// The first one that has what the owner `wants`, for that gets in however full the mailbox is.
    pub(super) fn rouse_wanted(&mut self, wants: impl Fn(Option<i64>) -> bool) -> Option<Waker> {
        let (number, _sender) = self.waiting.iter().find(|(_number, sender)| wants(sender.tag))?;
        let number = *number;
        self.wake(number)
    }

    fn wake(&mut self, place: u64) -> Option<Waker> {
        let Sender { waker, bytes, .. } = self.waiting.remove(&place)?;
        self.promised = self.promised.saturating_add(bytes);
        self.woken.insert(place, bytes);
        Some(waker)
    }

    /// All of them: there is nothing to wait for any more.
    pub(super) fn end(&mut self) -> Vec<Waker> {
        self.woken.clear();
        self.promised = 0;
        std::mem::take(&mut self.waiting).into_values().map(|sender| sender.waker).collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.woken.len()
    }
}
