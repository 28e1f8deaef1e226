//! What a socket is ready for, as its ring has said, and who waits for more.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const ERROR: u8 = 4;

fn bits(readable: bool, writable: bool, error: bool) -> u8 {
    [(readable, READABLE), (writable, WRITABLE), (error, ERROR)]
        .iter()
        .map(|(is, bit)| if *is { *bit } else { 0 })
        .sum()
}

fn bits_of(interest: Interest) -> u8 {
    bits(interest.is_readable(), interest.is_writable(), interest.is_error())
}

/// What events of `poll` are about: the same that tokio takes those of `epoll` for, so that nobody is woken by one alone. An error
/// without anything to read wakes who writes, and who asked for errors.
fn bits_of_events(events: i32) -> u8 {
    let any = |flags: i16| events & i32::from(flags) != 0;
    bits(
        any(libc::POLLIN | libc::POLLPRI | libc::POLLHUP),
        any(libc::POLLOUT | libc::POLLHUP | libc::POLLERR),
        any(libc::POLLERR),
    )
}

/// Who waits, by a number of its own.
struct Waiter {
    number: u64,
    wanted: u8,
    waker: Waker,
}

struct State {
    ready: u8,
    /// Counts what the ring has said, so that who finds nothing does not unsay what came meanwhile.
    told: u64,
    /// Whether the ring was asked to say what comes.
    armed: bool,
    /// Why the ring says nothing any more.
    failed: Option<i32>,
    waiters: Vec<Waiter>,
    next: u64,
}

pub(super) struct Readiness(Mutex<State>);

impl Readiness {
    /// It may be ready for all: whoever tries first finds out. So a connection that is read and written without a wait never
    /// troubles the ring.
    pub(super) fn new() -> Self {
        Readiness(Mutex::new(State {
            ready: READABLE | WRITABLE,
            told: 0,
            armed: false,
            failed: None,
            waiters: Vec::new(),
            next: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing would come of trying now: of a connection that is under way.
    pub(super) fn is_not_ready(&self) {
        self.state().ready = 0;
    }

    /// Tries what needs this, unless it is known to block.
    pub(super) fn try_io<T>(&self, interest: Interest, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let told = {
            let state = self.state();
            if state.ready & bits_of(interest) == 0 && state.failed.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.told
        };
        let outcome = operation();
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut state = self.state();
            if state.told == told {
                state.ready &= !bits_of(interest);
            }
        }
        outcome
    }

    /// Whether it is ready. Else the waker hears of it, under a number that is given at the first time, and `arm` is called if the
    /// ring does not know of the socket yet.
    pub(super) fn poll(
        &self,
        interest: Interest,
        number: &mut Option<u64>,
        context: &Context<'_>,
        arm: impl FnOnce(),
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if let Some(errno) = state.failed {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if state.ready & bits_of(interest) != 0 {
            return Poll::Ready(Ok(()));
        }
        // What drops with the last of a waker is another's code, and may want this very lock.
        let mut before = None;
        match number.and_then(|number| state.waiters.iter_mut().find(|waiter| waiter.number == number)) {
            Some(waiter) if waiter.waker.will_wake(context.waker()) => {}
            Some(waiter) => before = Some(std::mem::replace(&mut waiter.waker, context.waker().clone())),
            None => {
                let own = state.next;
                state.next += 1;
                *number = Some(own);
                state.waiters.push(Waiter { number: own, wanted: bits_of(interest), waker: context.waker().clone() });
            }
        }
        let is_first = !std::mem::replace(&mut state.armed, true);
        drop(state);
        drop(before);
        if is_first {
            arm();
        }
        Poll::Pending
    }

    /// One waits no more.
    pub(super) fn leave(&self, number: u64) {
        let mut state = self.state();
        let at = state.waiters.iter().position(|waiter| waiter.number == number);
        let gone = at.map(|at| state.waiters.swap_remove(at));
        drop(state);
        drop(gone);
    }

    /// The ring says what has come.
    pub(super) fn told(&self, events: i32) {
        let mut state = self.state();
        state.told += 1;
        state.ready |= bits_of_events(events);
        let ready = state.ready;
        let woken: Vec<Waiter> = state.waiters.extract_if(.., |waiter| waiter.wanted & ready != 0).collect();
        drop(state);
        for waiter in woken {
            waiter.waker.wake();
        }
    }

    /// The ring says nothing any more: whoever waits is told why.
    pub(super) fn fail(&self, errno: i32) {
        let mut state = self.state();
        state.failed = Some(errno);
        let woken = std::mem::take(&mut state.waiters);
        drop(state);
        for waiter in woken {
            waiter.waker.wake();
        }
    }

    /// Whether the ring was asked to say what comes.
    pub(super) fn is_armed(&self) -> bool {
        self.state().armed
    }
}
