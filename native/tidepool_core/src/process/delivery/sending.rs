//! Senders that wait for room in a mailbox.

use std::sync::Arc;
use std::task::Waker;

use super::Sent;
use crate::process::handle::Process;
use crate::process::message::Message;

/// A sender's place among those that wait for room in one mailbox, until it is dropped: one that ends while it waits is waited for by no
/// other, and is nothing that is kept.
pub(crate) struct SendingPlace {
    to: Arc<Process>,
    bound: usize,
    number: Option<u64>,
}

impl SendingPlace {
    /// For the mailbox of this process, which has `bound` bytes.
    pub(crate) fn new(to: Arc<Process>, bound: usize) -> Self {
        SendingPlace { to, bound, number: None }
    }

    /// [`Process::send`]; where there is no room, `waker` is woken when it should look again.
    pub(crate) fn send(&mut self, message: Message, from: &Process, waker: &Waker) -> Sent {
        self.to.offer(message, from, self.bound, Some((&mut self.number, waker)))
    }
}

impl Drop for SendingPlace {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else { return };
        let next = {
            let mut inner = self.to.inner();
            if inner.mailbox.leave(number) { inner.mailbox.rouse_senders(self.bound) } else { Vec::new() }
        };
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
