//! What is known of one process by all others of its program: its mailbox, its driver, whether it lives.

use std::any::Any;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::bounds::account::Share;
use super::mailbox::Mailbox;
use super::message::{Data, Message};
use super::timers::Timers;
use crate::base::limits::Limit;
use crate::base::request::Address;
use crate::os::drop_thread::{DropThread, are_large};

/// The number of a program's first process.
const FIRST: u64 = 1;

/// A process of a program, or one of the host's that has a number in it.
pub(crate) struct Process {
    pub(crate) id: u64,
    /// The export that it runs; empty for processes of the host's.
    pub(crate) entry: String,
    /// 0 until it has a driver.
    address: AtomicU64,
    is_guest: bool,
    dead: AtomicBool,
    /// What it is to end for, in bytes: it has been told more than it could ever receive, or has more links and monitors.
    overrun: OnceLock<(Limit, usize)>,
    /// Whether there is anything in `later`: most never have.
    pub(super) sends_later: AtomicBool,
    inner: Mutex<Inner>,
    /// CPU time and memory, as of the last slice.
    cpu_ns: AtomicU64,
    memory_bytes: AtomicU64,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) mailbox: Mailbox,
    /// Messages that it is to receive.
    pub(super) timers: Timers<Message>,
    /// Messages of its own to processes of the host's, by their numbers.
    pub(super) later: Timers<(u64, Data)>,
    /// What the one of those takes that its driver sends now.
    pub(super) sent_bytes: usize,
    /// What all of those take of the program's account, and its texts, links and monitors.
    pub(super) share: Share,
    pub(super) text_bytes: usize,
    pub(super) tie_bytes: usize,
    /// What others have told of links, and it has not taken note of.
    pub(super) notice_bytes: usize,
    /// What becomes its driver's, until its driver has it.
    unborn: Option<Box<dyn Any + Send>>,
    /// Whether it may run: its maker lets it go.
    released: bool,
    gate: Option<Waker>,
}

impl Process {
    /// A process that runs the export `entry`, and has `text_bytes` already of what it may have.
    pub(super) fn guest(id: u64, entry: String, share: Share, text_bytes: usize) -> Self {
        let process = Self::new(id, entry, 0, true);
        Process { inner: Mutex::new(Inner { share, text_bytes, ..Inner::default() }), ..process }
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
            overrun: OnceLock::new(),
            sends_later: AtomicBool::new(false),
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

    /// Is it the first one of its program?
    pub(crate) fn is_first(&self) -> bool {
        self.is_guest && self.id == FIRST
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

    /// It is to end, for it, or its program, has more than so many bytes.
    pub(super) fn overrun_by(&self, limit: Limit, allowed: usize) {
        // The first reason is told.
        let _told = self.overrun.set((limit, allowed));
    }

    /// How many bytes it may have of what it has more of, whatever it does.
    pub(crate) fn overrun(&self) -> Option<(Limit, usize)> {
        self.overrun.get().copied()
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

    /// It has ended: what it had is gone, and nobody waits for it. Much of it goes on that thread, and is of the account until then.
    pub(super) fn die(&self, drop_thread: &DropThread) {
        self.dead.store(true, Ordering::Release);
        let mut left = std::mem::take(&mut *self.inner());
        left.mailbox.end_senders().into_iter().for_each(Waker::wake);
        // Dropped without the lock: what is in it may end other processes.
        drop(left.unborn.take());
        if are_large(left.bytes()) {
            drop_thread.drop_there(Box::new(left));
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
