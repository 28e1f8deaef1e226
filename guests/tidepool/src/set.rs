//! One wait for many things.

use std::time::Duration;

use crate::host::{self, ms};
use crate::waitable::Waitable;

/// Something to read, or its end; a connection to accept; a message.
pub const READABLE: u16 = 1;
/// Room to write.
pub const WRITABLE: u16 = 2;

/// The most things in a set.
const MOST: usize = 1_024;
const MAILBOX: u32 = 0;

/// Sockets and messages that are waited for together, each under a token of the program's choice.
///
/// A wait is level-triggered: what is ready and is not used is ready the next time, too. A socket that is read after it was said to be
/// readable doesn't wait, unless another process has a clone of it and was faster; `set_read_timeout`,
/// [`receive_from`](crate::receive_from) and [`Listener::accept`](crate::Listener::accept) are for those.
///
/// A socket has to leave the set before it is dropped or sent away: waiting for one that the process does not have is a trap.
#[derive(Default)]
pub struct Set {
    entries: Vec<Entry>,
    tokens: Vec<u64>,
}

/// As the host has it.
#[repr(C)]
struct Entry {
    handle: u64,
    kind: u32,
    wanted: u16,
    ready: u16,
}

/// What a wait has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Of what is ready.
    pub token: u64,
    /// For what: [`READABLE`], [`WRITABLE`] or both.
    pub ready: u16,
}

impl Ready {
    pub fn is_readable(self) -> bool {
        self.ready & READABLE != 0
    }

    pub fn is_writable(self) -> bool {
        self.ready & WRITABLE != 0
    }
}

impl Set {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket, of which [`READABLE`], [`WRITABLE`] or both are wanted.
    ///
    /// # Panics
    /// With more than 1,024 things in the set.
    pub fn add(&mut self, token: u64, socket: &impl Waitable, wanted: u16) {
        self.push(token, socket.handle(), socket.kind(), wanted);
    }

    /// Adds the mailbox: any message.
    ///
    /// # Panics
    /// As [`Set::add`].
    pub fn add_mailbox(&mut self, token: u64) {
        self.push(token, 0, MAILBOX, READABLE);
    }

    /// Adds the mailbox, of which messages with a tag alone, such as [`upgrade::TAG`](crate::upgrade::TAG).
    ///
    /// # Panics
    /// As [`Set::add`].
    pub fn add_tag(&mut self, token: u64, tag: i64) {
        self.push(token, tag as u64, MAILBOX, READABLE);
    }

    fn push(&mut self, token: u64, handle: u64, kind: u32, wanted: u16) {
        assert!(self.entries.len() < MOST, "{MOST} things are waited for at once, at most");
        self.entries.push(Entry { handle, kind, wanted, ready: 0 });
        self.tokens.push(token);
    }

    /// Removes all that has the token.
    pub fn remove(&mut self, token: u64) {
        for at in (0..self.tokens.len()).rev().filter(|at| self.tokens[*at] == token).collect::<Vec<_>>() {
            self.tokens.swap_remove(at);
            self.entries.swap_remove(at);
        }
    }

    /// Changes what is wanted of all that has the token.
    pub fn want(&mut self, token: u64, wanted: u16) {
        for (entry, _) in self.entries.iter_mut().zip(&self.tokens).filter(|(_, its)| **its == token) {
            entry.wanted = wanted;
        }
    }

    /// Waits until something is ready; nothing is when the time is over before.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Vec<Ready> {
        // SAFETY: the host writes to the entries alone, which are as it expects them.
        unsafe { host::wait(self.entries.as_mut_ptr().cast(), self.entries.len() as u32, ms(timeout)) };
        let found = self.entries.iter().zip(&self.tokens).filter(|(entry, _)| entry.ready != 0);
        found.map(|(entry, token)| Ready { token: *token, ready: entry.ready }).collect()
    }
}
