//! What is known of one process by all others of its program: its mailbox, its driver, whether it lives.

use std::any::Any;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::message::{Data, Message};
use super::timers::Timers;
use crate::base::request::Address;

/// A process of a program, or one of the host's that has a number in it.
pub(crate) struct Process {
    pub(crate) id: u64,
    /// The export that it runs; empty for processes of the host's.
    pub(crate) entry: String,
    /// 0 until it has a driver.
    address: AtomicU64,
    is_guest: bool,
    dead: AtomicBool,
    inner: Mutex<Inner>,
    /// CPU time and memory, as of the last slice.
    cpu_ns: AtomicU64,
    memory_bytes: AtomicU64,
}

#[derive(Default)]
struct Inner {
    mailbox: Mailbox,
    timers: Timers,
    /// What becomes its driver's, until its driver has it.
    unborn: Option<Box<dyn Any + Send>>,
    /// Whether it may run: its maker lets it go.
    released: bool,
    gate: Option<Waker>,
}

/// What has become of a message.
pub(crate) enum Sent {
    /// It is in the mailbox, or there is nobody who could receive it.
    Done,
    /// There is no room: the sender is woken when it should look again.
    Full(Message),
}

impl Process {
    /// A process that runs the export `entry`.
    pub(super) fn guest(id: u64, entry: String) -> Self {
        Self::new(id, entry, 0, true)
    }

    /// A process of the host's.
    pub(super) fn outsider(id: u64, address: Address) -> Self {
        Self::new(id, String::new(), address.0.get(), false)
    }

    fn new(id: u64, entry: String, address: u64, is_guest: bool) -> Self {
        Process {
            id,
            entry,
            address: AtomicU64::new(address),
            is_guest,
            dead: AtomicBool::new(false),
            inner: Mutex::default(),
            cpu_ns: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
        }
    }

    /// What drives it, or what it is, when it is not a guest.
    pub(crate) fn address(&self) -> Option<Address> {
        NonZeroU64::new(self.address.load(Ordering::Acquire)).map(Address)
    }

    /// Says what drives it.
    pub(super) fn set_address(&self, address: Address) {
        self.address.store(address.0.get(), Ordering::SeqCst);
    }

    /// Is it a guest, and no process of the host's?
    pub(crate) fn is_guest(&self) -> bool {
        self.is_guest
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Keeps what is to become its driver's.
    pub(crate) fn set_unborn(&self, unborn: Box<dyn Any + Send>) {
        let mut inner = self.inner();
        if !self.is_dead() {
            inner.unborn = Some(unborn);
        }
    }

    /// Ends what is being made, unless it has a driver, whose it is then; `true` when it has none.
    pub(crate) fn abandon(&self) -> bool {
        let unborn = self.inner().unborn.take();
        unborn.is_some() || self.address().is_none()
    }

    /// Takes what is to become its driver's, once.
    pub(crate) fn take_unborn<T: Any + Send>(&self) -> Option<Box<T>> {
        let unborn = self.inner().unborn.take()?;
        unborn.downcast().ok()
    }

    /// Drops what was to become its driver's: it never begins.
    pub(crate) fn stop_unborn(&self) {
        let unborn = self.inner().unborn.take();
        // Without the lock: what is dropped ends the process.
        drop(unborn);
    }

    /// Lets it run.
    pub(crate) fn release(&self) {
        let gate = {
            let mut inner = self.inner();
            inner.released = true;
            inner.gate.take()
        };
        if let Some(gate) = gate {
            gate.wake();
        }
    }

    /// Waits until it may run.
    pub(crate) fn poll_released(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if inner.released {
            return Poll::Ready(());
        }
        inner.gate = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Puts a message into the mailbox, unless that has `bound` bytes and nobody waits for the message: then `sender` is woken
    /// when there is room. Without a sender it always gets in.
    pub(crate) fn send(&self, message: Message, bound: usize, sender: Option<&Waker>) -> Sent {
        let woken = {
            let mut inner = self.inner();
            if self.is_dead() {
                return Sent::Done;
            }
            inner.take_due();
            let mailbox = &mut inner.mailbox;
            let full = mailbox.len() > 0 && mailbox.bytes().saturating_add(message.bytes()) > bound;
            match sender {
                Some(sender) if full && !mailbox.wants(message.tag()) => {
                    mailbox.wait_for_room(sender);
                    return Sent::Full(message);
                }
                _ => mailbox.push(message),
            }
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        Sent::Done
    }

    /// Puts a message into the mailbox, for a driver that drives next and needs nobody to wake it.
    pub(crate) fn deliver(&self, message: Message) {
        let mut inner = self.inner();
        if !self.is_dead() {
            inner.take_due();
            let _driver = inner.mailbox.push(message);
        }
    }

    /// Has a message come after `delay`; the number by which it is cancelled. `None` when there are too many.
    pub(crate) fn send_after(&self, data: Data, delay: Duration) -> Option<u64> {
        let due = Instant::now().checked_add(delay)?;
        let (number, woken) = {
            let mut inner = self.inner();
            if self.is_dead() {
                return Some(0);
            }
            let sooner = inner.timers.next_due().is_none_or(|next| due < next);
            let number = inner.timers.add(due, data).ok()?;
            // Who waits has to wait for less.
            (number, if sooner { inner.mailbox.rouse() } else { None })
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        Some(number)
    }

    /// Has a message not come; `false` when it has.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        let mut inner = self.inner();
        inner.take_due();
        inner.timers.cancel(number)
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
            let (message, senders) = inner.receive(tags, bound);
            if message.is_none() && deadline.is_none_or(|deadline| deadline > Instant::now()) {
                inner.mailbox.wait(tags, cx.waker());
                let due = inner.timers.next_due();
                *wake_at = match (deadline, due) {
                    (Some(deadline), Some(due)) => Some(deadline.min(due)),
                    (one, other) => one.or(other),
                };
                // One of those who wait for room may have what is waited for now.
                (Poll::Pending, inner.mailbox.take_senders())
            } else {
                inner.mailbox.stop_waiting();
                (Poll::Ready(message), senders)
            }
        };
        senders.into_iter().for_each(Waker::wake);
        polled
    }

    /// Notes what it has used so far.
    pub(crate) fn note_usage(&self, cpu_time: Duration, memory_bytes: usize) {
        self.cpu_ns.store(u64::try_from(cpu_time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.memory_bytes.store(u64::try_from(memory_bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// CPU time, and bytes of memory.
    pub(crate) fn usage(&self) -> (Duration, u64) {
        (Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed)), self.memory_bytes.load(Ordering::Relaxed))
    }

    /// Messages that it has not received, and what they take in bytes.
    pub(crate) fn queue(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.mailbox.len(), inner.mailbox.bytes())
    }

    /// It has ended: what it had is gone, and nobody waits for it.
    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::Release);
        let mut left = std::mem::take(&mut *self.inner());
        left.mailbox.take_senders().into_iter().for_each(Waker::wake);
        // Dropped here, without the lock: what is in it may end other processes.
        drop(left);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves messages whose time has come into the mailbox. Their receiver is about to look, or is waiting, and then this is
    /// its driver.
    fn take_due(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(data) = self.timers.due(now) {
            if let Some(waker) = self.mailbox.push(Message::Data(data)) {
                waker.wake();
            }
        }
    }

    /// A message, and the senders that are to look whether there is room now.
    fn receive(&mut self, tags: &[i64], bound: usize) -> (Option<Message>, Vec<Waker>) {
        let message = self.mailbox.take(tags);
        let room = self.mailbox.bytes() <= bound / 2;
        (message, if room { self.mailbox.take_senders() } else { Vec::new() })
    }
}
