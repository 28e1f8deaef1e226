//! Messages of a process: how they get into its mailbox, now or at a time, and out of it.

pub(crate) mod sending;

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::handle::{Inner, Process};
use super::message::{Data, Message};
use super::timers::TIMER_BYTES;
use crate::base::limits::Limit;

/// What a process may have been told that nobody can be made to wait with, in bytes, whatever its program has.
const UNHELD_BYTES: usize = 64 << 10;
/// Messages whose time has come that get into a mailbox in one go, under its lock, for which senders wait: some tens of microseconds.
const DUE_AT_ONCE: usize = 256;

/// What has become of a message.
pub(crate) enum Sent {
    /// It is in the mailbox, or there is nobody who could receive it.
    Done,
    /// There is no room: the sender is woken when it should look again.
    Full {
        message: Message,
        /// The mailbox would have room, and its program has none.
        for_memory: bool,
    },
}

/// What a mailbox takes of a sender that asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The message, and others after it.
    Free,
    /// The message, for its owner waits for it, and no other.
    Wanted,
    /// Nothing, for now.
    Full,
}

/// Why a message can't wait for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many as there may be.
    TooMany,
    /// They take as much as a mailbox may have.
    TooLarge,
    /// The program has all that it may have.
    NoRoom,
}

impl Process {
    /// Puts a message of another process into the mailbox, unless that has `bound` bytes, or the program all that it may have, and
    /// the owner has others to receive first.
    pub(crate) fn send(&self, message: Message, from: &Process, bound: usize) -> Sent {
        self.offer(message, from, bound, None)
    }

    /// The same; where there is no room, the sender has a place among those that `waker` and others wake when there is.
    fn offer(&self, message: Message, from: &Process, bound: usize, waits: Option<(&mut Option<u64>, &Waker)>) -> Sent {
        let woken = {
            let mut inner = self.inner();
            // Nothing comes from a process after the word of its death: who is told of that has noted it before, and its
            // driver may end while its guest runs on another's thread.
            if self.is_dead() || from.is_dead() {
                return Sent::Done;
            }
            inner.take_due();
            if !inner.mailbox.is_next(message.tag()) && !inner.has_room(message.bytes(), bound) {
                if let Some((place, waker)) = waits {
                    inner.mailbox.wait_for_room(place, (message.bytes(), message.tag()), waker);
                }
                let for_memory = inner.mailbox.fits(message.bytes(), bound);
                return Sent::Full { message, for_memory };
            }
            if let Some(place) = waits.and_then(|(place, _)| place.take()) {
                inner.mailbox.leave(place);
            }
            inner.push(message)
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        Sent::Done
    }

    /// Puts a message into the mailbox, for a driver that drives next and needs nobody to wake it.
    ///
    /// Nobody can be made to wait with what is delivered so, and none of it may be lost. Guests fill a mailbox up to `bound`; one
    /// that has as much again beyond that has an owner that doesn't receive, which is to be ended. So has one with more, but for a
    /// little, than its program has room for.
    pub(crate) fn deliver(&self, message: Message, bound: usize) {
        let mut inner = self.inner();
        if self.is_dead() {
            return;
        }
        inner.take_due();
        let held = inner.mailbox.bytes();
        let all = inner.bytes().saturating_add(message.bytes());
        if inner.mailbox.is_next(message.tag()) {
            let _driver = inner.push(message);
        } else if held.saturating_add(message.bytes()) > bound.saturating_mul(2) {
            self.overrun_by(Limit::Messages, bound);
        } else if held > UNHELD_BYTES && !inner.share.hold(all) {
            self.overrun_by(Limit::TotalMemory, inner.share.limit());
        } else {
            let _driver = inner.push(message);
        }
    }

    /// Is there room for a message with this tag, whose sender then goes on for `more` bytes without asking?
    pub(crate) fn room(&self, tag: i64, more: usize, bound: usize) -> Room {
        let mut inner = self.inner();
        inner.take_due();
        if inner.has_room(more, bound) {
            Room::Free
        } else if inner.mailbox.is_next(Some(tag).filter(|tag| *tag != 0)) {
            Room::Wanted
        } else {
            Room::Full
        }
    }

    /// Has a message come after `delay`; the number by which it is cancelled.
    ///
    /// # Errors
    /// When there are too many, or they take more than `bound`, or the program has no room.
    pub(crate) fn send_after(&self, data: Data, delay: Duration, bound: usize) -> Result<u64, Refused> {
        let due = Instant::now().checked_add(delay).ok_or(Refused::TooMany)?;
        let (number, woken) = {
            let mut inner = self.inner();
            if self.is_dead() {
                return Ok(0);
            }
            let message = Message::Data(data);
            let bytes = message.bytes().saturating_add(TIMER_BYTES);
            inner.makes_room_for_timer(bytes, bound)?;
            let sooner = inner.timers.next_due().is_none_or(|next| due < next);
            let number = inner.timers.add(due, message, bytes).ok_or(Refused::TooMany)?;
            // Who waits has to wait for less.
            (number, if sooner { inner.mailbox.rouse() } else { None })
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        Ok(number)
    }

    /// Has a message sent to a process of the host's after `delay`, unless this one has ended before: see [`Self::take_later`].
    ///
    /// # Errors
    /// As above.
    pub(crate) fn send_later(&self, to: u64, data: Data, delay: Duration, bound: usize) -> Result<u64, Refused> {
        let due = Instant::now().checked_add(delay).ok_or(Refused::TooMany)?;
        let mut inner = self.inner();
        let bytes = data.size().saturating_add(TIMER_BYTES);
        inner.makes_room_for_timer(bytes, bound)?;
        let number = inner.later.add(due, (to, data), bytes).ok_or(Refused::TooMany)?;
        self.sends_later.store(true, Ordering::Relaxed);
        Ok(number)
    }

    /// A message that is due for a process of the host's, or of another node, and the number of that process. Its driver may wait for room
    /// there: it counts until the next one is asked for.
    pub(crate) fn take_later(&self) -> Option<(u64, Data)> {
        if !self.sends_later.load(Ordering::Relaxed) {
            return None;
        }
        let mut inner = self.inner();
        let due = inner.later.due(Instant::now());
        inner.sent_bytes = due.as_ref().map_or(0, |(_to, data)| data.size());
        inner.count();
        self.sends_later.store(due.is_some() || !inner.later.is_empty(), Ordering::Relaxed);
        due
    }

    /// When the next of those is due.
    pub(crate) fn next_later(&self) -> Option<Instant> {
        if self.sends_later.load(Ordering::Relaxed) { self.inner().later.next_due() } else { None }
    }

    /// Has a message not come; `false` when it has.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        let mut inner = self.inner();
        inner.take_due();
        let cancelled = inner.timers.cancel(number);
        inner.count();
        cancelled
    }

    /// Has a message not be sent to a process of the host's; `false` when it was.
    pub(crate) fn cancel_later(&self, number: u64) -> bool {
        let mut inner = self.inner();
        let cancelled = inner.later.cancel(number);
        inner.count();
        cancelled
    }

    /// Is the message with this number yet to come, or `later` to be sent to a process of the host's?
    pub(crate) fn is_pending(&self, number: u64, later: bool) -> bool {
        let inner = self.inner();
        if later { inner.later.has(number) } else { inner.timers.has(number) }
    }

    /// The oldest message, or the oldest with one of `tags` if there are any.
    pub(crate) fn receive(&self, tags: &[i64], bound: usize) -> Option<Message> {
        let (message, senders) = {
            let mut inner = self.inner();
            inner.take_due();
            inner.receive(tags, bound)
        };
        senders.into_iter().for_each(Waker::wake);
        message
    }

    /// The same, waiting until `deadline`: `None` once that is over. What has to be looked at again at a time is in `wake_at`.
    pub(crate) fn poll_receive(
        &self,
        tags: &[i64],
        bound: usize,
        deadline: Option<Instant>,
        cx: &Context<'_>,
        wake_at: &mut Option<Instant>,
    ) -> Poll<Option<Message>> {
        let (polled, senders) = {
            let mut inner = self.inner();
            inner.take_due();
            let (message, mut senders) = inner.receive(tags, bound);
            let due = inner.timers.next_due();
            // Nor is a wait over before all have come that were due by then.
            let is_over = |deadline: Instant| deadline <= Instant::now() && due.is_none_or(|due| due > deadline);
            if message.is_none() && !deadline.is_some_and(is_over) {
                inner.mailbox.wait(tags, cx.waker());
                *wake_at = match (deadline, due) {
                    (Some(deadline), Some(due)) => Some(deadline.min(due)),
                    (one, other) => one.or(other),
                };
                // One of those who wait for room may have what is waited for now.
                senders.extend(inner.mailbox.rouse_senders(bound));
                (Poll::Pending, senders)
            } else {
                inner.mailbox.stop_waiting();
                (Poll::Ready(message), senders)
            }
        };
        senders.into_iter().for_each(Waker::wake);
        polled
    }

    /// Whether there is a message, or one with one of `tags`, which is left where it is. If there is none the next one wakes, until
    /// [`Process::stop_waiting`]; what is to come at a time is looked for by `wake_at`.
    pub(crate) fn has_message(
        &self,
        tags: &[i64],
        bound: usize,
        cx: &Context<'_>,
        wake_at: &mut Option<Instant>,
    ) -> bool {
        let senders = {
            let mut inner = self.inner();
            inner.take_due();
            if inner.mailbox.has(tags) {
                return true;
            }
            inner.mailbox.wait(tags, cx.waker());
            *wake_at = inner.timers.next_due();
            // One of those who wait for room may have what is waited for now.
            inner.mailbox.rouse_senders(bound)
        };
        senders.into_iter().for_each(Waker::wake);
        false
    }

    /// Shows all messages that there are, in their order, and then those that are to come: with their numbers, and when they do. The number
    /// of the next one that is to come.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn show<E>(
        &self,
        mut each: impl FnMut(&Message, Option<(u64, Instant)>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let inner = self.inner();
        inner.mailbox.all().try_for_each(|message| each(message, None))?;
        let (next, timers) = inner.timers.all();
        for (number, due, message) in timers {
            each(message, Some((number, due)))?;
        }
        Ok(next)
    }

    /// Has messages that it had before, and those that are to come, by their numbers; `next` is that of the next one of these.
    ///
    /// # Errors
    /// The limit, and what it allows in bytes, when there can't have been those, or they are more than `bound` permits, or than its program
    /// has room for.
    pub(crate) fn restore(
        &self,
        messages: impl IntoIterator<Item = Message>,
        (due, next): (impl IntoIterator<Item = (u64, Instant, Message)>, u64),
        bound: usize,
    ) -> Result<(), (Limit, usize)> {
        let mut inner = self.inner();
        for message in messages {
            drop(inner.mailbox.push(message));
        }
        let mut may_be = true;
        for (number, due, message) in due {
            let bytes = message.bytes().saturating_add(TIMER_BYTES);
            may_be &= inner.timers.restore((number, due), message, bytes);
        }
        inner.timers.begin_at(next);
        let all = inner.bytes();
        if !may_be || inner.timers.bytes() > bound || inner.mailbox.bytes() > bound.saturating_mul(2) {
            return Err((Limit::Messages, bound));
        }
        if inner.share.hold(all) { Ok(()) } else { Err((Limit::TotalMemory, inner.share.limit())) }
    }

    /// Its owner waits for no message any more.
    pub(crate) fn stop_waiting(&self) {
        self.inner().mailbox.stop_waiting();
    }

    /// Messages that it has not received, and what they take in bytes.
    pub(crate) fn queue(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.mailbox.len(), inner.mailbox.bytes())
    }
}

impl Inner {
    /// Moves messages whose time has come into the mailbox, some in one go. Their receiver is about to look, or is waiting, and then this is
    /// its driver. Where there are more of them, the time at which the receiver is to look again is past, so it does that at once.
    fn take_due(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        for _each in 0..DUE_AT_ONCE {
            let Some(message) = self.timers.due(now) else { return };
            if let Some(waker) = self.mailbox.push(message) {
                waker.wake();
            }
        }
    }

    /// Adds a message; who is to be woken.
    fn push(&mut self, message: Message) -> Option<Waker> {
        let woken = self.mailbox.push(message);
        self.count();
        woken
    }

    pub(super) fn bytes(&self) -> usize {
        let ties = self.tie_bytes + self.notice_bytes;
        let later = self.later.bytes() + self.sent_bytes;
        self.text_bytes + ties + self.mailbox.bytes() + self.timers.bytes() + later
    }

    /// Tells the account what there is.
    pub(super) fn count(&mut self) {
        self.share.keep(self.bytes());
    }

    /// Is there room for `more` bytes in the mailbox, and in the program's account?
    fn has_room(&mut self, more: usize, bound: usize) -> bool {
        let all = self.bytes().saturating_add(more);
        self.mailbox.fits(more, bound) && self.share.hold(all)
    }

    fn makes_room_for_timer(&mut self, more: usize, bound: usize) -> Result<(), Refused> {
        if (self.timers.bytes() + self.later.bytes()).saturating_add(more) > bound {
            return Err(Refused::TooLarge);
        }
        let all = self.bytes().saturating_add(more);
        if self.share.hold(all) { Ok(()) } else { Err(Refused::NoRoom) }
    }

    /// A message, and the senders that are to look whether there is room now.
    fn receive(&mut self, tags: &[i64], bound: usize) -> (Option<Message>, Vec<Waker>) {
        let message = self.mailbox.take(tags);
        self.count();
        let room = self.mailbox.bytes() <= bound / 2;
        (message, if room { self.mailbox.rouse_senders(bound) } else { Vec::new() })
    }
}
