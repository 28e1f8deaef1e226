//! What one connection is doing: its socket and its requests write it, the timeout task reads it.
//!
//! Nothing here reads a clock, so a request pays a few relaxed stores. The timeout task stamps what it sees
//! ([`ConnectionState::observe`]), and a connection is overdue when it sees the same for too long.

use crate::budget::answer_window::AnswerWindow;
use crate::budget::shares::{Account, Accounts, BodyBudget, Hold, PIECE_BYTES, WINDOW_BYTES};
use crate::connection::discards::Discards;
use futures_util::task::AtomicWaker;
use std::fmt;
use std::net::SocketAddr;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

/// What a connection is told to do. Later ones outrank earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    Serve = 0,
    /// Go on, and tell the client to go elsewhere: with the next answer, as what it has sent by now may not be lost.
    Leave = 1,
    /// Finish what is in flight, then close.
    Close = 2,
    /// End at once.
    Cut = 3,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Requests are being read or answered; other limits watch over these.
    Busy,
    /// Part of a request's head has come, or nothing yet since it was accepted.
    Head,
    /// Between requests.
    Idle,
    /// The client doesn't take what is written.
    Blocked,
    /// All is written; the client still sends bytes, which are thrown away.
    Linger,
}

/// What the timeout task sees. Two equal ones mean that nothing happened between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) phase: Phase,
    pub(crate) order: Order,
    mark: u64,
}

/// An answer that a client has yet to take, where the timeout task finds it.
pub(crate) trait Untaken: fmt::Debug + Send + Sync {
    /// Takes it away from a client that is too slow: one that took nothing for `still`, or not all of it in `least` or in the
    /// time that its size allows. True if it took something away.
    fn expire(&self, now: Instant, still: Duration, least: Duration) -> bool;

    /// The server is about to stop: for answers that still go on.
    fn drain(&self) {}
}

/// Since when a client has taken nothing of an answer, as far as the timeout task has seen.
#[derive(Debug, Default)]
pub(crate) struct Stillness(Option<(u64, Instant)>);

impl Stillness {
    /// Whether it has taken no more than these pieces for `still`.
    pub(crate) fn lasts(&mut self, taken: u64, now: Instant, still: Duration) -> bool {
        match self.0 {
            Some((before, since)) if before == taken => now.saturating_duration_since(since) >= still,
            _ => {
                self.0 = Some((taken, now));
                false
            }
        }
    }

    /// There is nothing that it could take.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The connection's other end.
    pub(crate) peer: SocketAddr,
    /// What the connection counts in; its requests may be those of a namespace besides.
    pub(crate) accounts: Accounts,
    /// What the client may have asked for and not taken.
    pub(crate) answer_window: AnswerWindow,
    /// Shared by all connections.
    pub(crate) discards: Arc<Discards>,
    /// What an HTTP/2 client may send ahead of all who read its bodies, while any of these is read in pieces.
    sent_ahead: Mutex<Weak<Hold>>,
    /// Answers that the client has yet to take, in the pieces that `written.rs` hands out.
    answers: Mutex<Vec<Arc<dyn Untaken>>>,
    pieces: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
    busy: AtomicU32,
    requests: AtomicU64,
    abandoned: AtomicU32,
    /// Bytes that the client has taken, of bodies and all else.
    written: AtomicU64,
    blocked: AtomicBool,
    fed: AtomicBool,
    multiplexed: AtomicBool,
    unread: AtomicBool,
    waiting: AtomicBool,
    lingering: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn new(peer: SocketAddr, accounts: Accounts, discards: Arc<Discards>) -> Self {
        Self {
            peer,
            accounts,
            answer_window: AnswerWindow::default(),
            discards,
            sent_ahead: Mutex::default(),
            answers: Mutex::default(),
            pieces: AtomicU64::new(0),
            order: AtomicU8::new(Order::Serve as u8),
            waker: AtomicWaker::new(),
            busy: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            abandoned: AtomicU32::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            // A new connection that is silent has `header_timeout`, not `idle_timeout`.
            fed: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
        }
    }

    /// What a request of this connection counts in, when that is its namespace.
    pub(crate) fn accounts_with(&self, namespace: Option<Arc<Account>>) -> Accounts {
        Accounts { namespace, ..self.accounts.clone() }
    }

    /// A request began; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, SeqCst);
        self.requests.fetch_add(1, Relaxed);
        Busy { connection: Arc::clone(self), answered: false }
    }

    /// The connection is HTTP/2: bytes that come between requests may be anything, not only a head.
    pub(crate) fn set_multiplexed(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    /// See [`ConnectionState::set_multiplexed`].
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    /// A share of the budget for what the client of an HTTP/2 connection may send ahead, which all bodies have that are read in pieces,
    /// and the first of them counts for; `None` when there is no room for it.
    pub(crate) fn hold_sent_ahead(&self, budget: &Arc<BodyBudget>, accounts: &Accounts) -> Option<Arc<Hold>> {
        let mut held = self.sent_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hold) = held.upgrade() {
            return Some(hold);
        }
        let mut hold = budget.hold(accounts);
        if !hold.grow(WINDOW_BYTES) {
            return None;
        }
        let hold = Arc::new(hold);
        *held = Arc::downgrade(&hold);
        Some(hold)
    }

    /// Whether a request is in service.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(SeqCst) > 0
    }

    /// Whether it has made a request.
    pub(crate) fn has_asked(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Bytes came in.
    pub(crate) fn bytes_in(&self) {
        self.fed.store(true, Relaxed);
    }

    /// The client took some bytes.
    pub(crate) fn bytes_out(&self, count: usize) {
        self.written.fetch_add(count as u64, Relaxed);
        self.blocked.store(false, Relaxed);
    }

    /// A piece of an answer has gone out.
    pub(crate) fn piece_out(&self) {
        self.pieces.fetch_add(1, Relaxed);
    }

    /// See [`ConnectionState::piece_out`].
    pub(crate) fn answers(&self) -> MutexGuard<'_, Vec<Arc<dyn Untaken>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer was taken, or is lost.
    pub(crate) fn forget<T>(&self, answer: &Arc<T>) {
        let mut answers = self.answers();
        if let Some(place) = answers.iter().position(|it| ptr::addr_eq(Arc::as_ptr(it), Arc::as_ptr(answer))) {
            answers.swap_remove(place);
        }
    }

    /// Tells the backends of streams that still go on that the server is about to stop.
    pub(crate) fn drain_streams(&self) {
        for answer in self.answers().iter() {
            answer.drain();
        }
    }

    /// The client takes nothing now.
    pub(crate) fn blocked(&self) {
        self.blocked.store(true, Relaxed);
    }

    /// Whether some of the current request's body is still to come. Closing on it could destroy the answer.
    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Relaxed);
    }

    /// See [`ConnectionState::set_unread`].
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// What comes of the current request's body waits, for as long as the guard lives: nobody reads it, and so nobody would see the
    /// client leave.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.store(true, SeqCst);
        self.waker.wake();
        Waiting(Arc::clone(self))
    }

    /// See [`ConnectionState::wait`].
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(SeqCst)
    }

    /// The connection waits for its client to close.
    pub(crate) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(SeqCst) {
            0 => Order::Serve,
            1 => Order::Leave,
            2 => Order::Close,
            _ => Order::Cut,
        }
    }

    /// Gives an order, unless a stronger one stands, and wakes the connection.
    pub(crate) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, SeqCst);
        self.waker.wake();
    }

    /// Orders wake this one. Register first, look at the order after.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Requests given up by the client.
    pub(crate) fn abandoned(&self) -> u32 {
        self.abandoned.load(Relaxed)
    }

    pub(crate) fn observe(&self) -> Observation {
        let multiplexed = self.multiplexed.load(Relaxed);
        // In pieces: a client that takes byte after byte makes no progress.
        let written = self.written.load(Relaxed) / PIECE_BYTES as u64;
        let requests = self.requests.load(Relaxed);
        let (phase, mark) = if self.blocked.load(Relaxed) {
            (Phase::Blocked, written)
        } else if self.lingering.load(Relaxed) {
            (Phase::Linger, 0)
        } else if self.is_busy() {
            (Phase::Busy, requests)
        } else if multiplexed {
            // Answers still flow out after their requests ended here. Other frames, such as PING, are no progress.
            (Phase::Idle, requests.wrapping_add(self.pieces.load(Relaxed)))
        } else if self.fed.load(Relaxed) {
            (Phase::Head, requests)
        } else {
            (Phase::Idle, requests)
        };
        Observation { phase, order: self.order(), mark }
    }
}

/// See [`ConnectionState::wait`].
pub(crate) struct Waiting(Arc<ConnectionState>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.store(false, SeqCst);
    }
}

/// A request that is being served.
pub(crate) struct Busy {
    connection: Arc<ConnectionState>,
    answered: bool,
}

impl Busy {
    /// The client gets an answer; a guard that is dropped without this counts as a request that the client gave up.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.abandoned.fetch_add(1, Relaxed);
        }
        self.connection.fed.store(false, Relaxed);
        self.connection.busy.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<ConnectionState> {
        Arc::new(ConnectionState::new(SocketAddr::from(([127, 0, 0, 1], 50_000)), Accounts::default(), Arc::default()))
    }

    #[test]
    fn a_connection_passes_through_its_phases() {
        let connection = connection();
        assert_eq!(connection.observe().phase, Phase::Head, "a newcomer owes a head");
        let busy = connection.begin();
        assert_eq!(connection.observe().phase, Phase::Busy);
        busy.answered();
        assert_eq!(connection.observe().phase, Phase::Idle);
        connection.bytes_in();
        assert_eq!(connection.observe().phase, Phase::Head);
        connection.blocked();
        assert_eq!(connection.observe().phase, Phase::Blocked);
        connection.bytes_out(1);
        connection.linger();
        assert_eq!(connection.observe().phase, Phase::Linger);
    }

    #[test]
    fn a_second_head_is_not_mistaken_for_the_first() {
        let connection = connection();
        let first = connection.observe();
        connection.begin().answered();
        connection.bytes_in();
        assert_ne!(first, connection.observe());
    }

    #[test]
    fn progress_in_writing_is_seen_even_when_blocked_again() {
        let connection = connection();
        connection.blocked();
        let before = connection.observe();
        connection.bytes_out(PIECE_BYTES - 1);
        connection.blocked();
        assert_eq!(before, connection.observe(), "byte after byte is none");
        connection.bytes_out(1);
        connection.blocked();
        assert_ne!(before, connection.observe());
    }

    #[test]
    fn orders_only_grow_stronger() {
        let connection = connection();
        connection.give(Order::Cut);
        connection.give(Order::Close);
        assert_eq!(connection.order(), Order::Cut);
    }
}
