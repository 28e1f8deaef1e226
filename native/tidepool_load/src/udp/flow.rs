//! One flow: a connected socket and the pings that wait for their answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::plan::{Answer, UdpPlan};
use crate::record::Failure;

/// A ping that has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Its number within the flow.
    pub(super) ping: u64,
    /// When it was due.
    pub(super) due_ns: u64,
    /// When it was sent.
    pub(super) sent_ns: u64,
}

/// What a datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    /// The good or wrong answer to this ping.
    For(Waiting, Result<(), Failure>),
    /// An answer to no ping that waits: a second one, or one that came too late.
    Stray,
}

/// The open part of a flow; leaving closes it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) socket: Rc<UdpSocket>,
    pub(super) reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// One flow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Its socket, while it has one.
    pub(super) open: Option<Open>,
    /// The pings without an answer, the oldest first.
    pub(super) waiting: VecDeque<Waiting>,
    /// Whether it pings no more.
    pub(super) leaving: bool,
}

impl Flow {
    /// Which ping a datagram answers, if any; that ping waits no more.
    pub(super) fn answered(&mut self, datagram: &[u8], answer: &Answer) -> Matched {
        let (found, good) = match answer {
            Answer::Number => match <[u8; 4]>::try_from(datagram) {
                Ok(number) => {
                    let number = u32::from_be_bytes(number);
                    let found = self.waiting.iter().position(|waiting| number_of(waiting.ping) == number);
                    (found, true)
                }
                Err(_) => (Some(0), false),
            },
            Answer::Exactly(content) => (Some(0), content == datagram),
            Answer::Length(len) => (Some(0), *len == datagram.len()),
        };
        match found.and_then(|at| self.waiting.remove(at)) {
            Some(waiting) => Matched::For(waiting, if good { Ok(()) } else { Err(Failure::WrongContent) }),
            None => Matched::Stray,
        }
    }

    /// Whether the system has a refusal to tell; it tells it once.
    pub(super) fn is_refused(&self) -> bool {
        let error = self.open.as_ref().and_then(|open| open.socket.take_error().ok().flatten());
        error.is_some_and(|error| Failure::from(error) == Failure::Refused)
    }

    /// Takes a ping out that has waited too long; `None` if it was answered.
    pub(super) fn lost(&mut self, ping: u64) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.ping == ping)?;
        self.waiting.remove(at)
    }
}

/// The number a ping carries; it comes round after 2³² pings.
fn number_of(ping: u64) -> u32 {
    (ping & u64::from(u32::MAX)) as u32
}

/// Sends a ping on a socket, without waiting.
pub(super) fn send(socket: &UdpSocket, plan: &UdpPlan, ping: u64) -> io::Result<()> {
    let number = number_of(ping).to_be_bytes();
    let payload = plan.payload.as_deref().unwrap_or(&number);
    SockRef::from(socket).send(payload).map(drop)
}

/// A socket for a flow.
pub(super) fn connect(plan: &UdpPlan, flow: u64) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(plan.target), Type::DGRAM.nonblocking(), None)?;
    if let Some(source) = plan.sources.of(flow) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&plan.target.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(pings: impl IntoIterator<Item = u64>) -> Flow {
        let waiting = pings.into_iter().map(|ping| Waiting { ping, due_ns: 0, sent_ns: 0 }).collect();
        Flow { waiting, ..Flow::default() }
    }

    fn waiting(ping: u64) -> Waiting {
        Waiting { ping, due_ns: 0, sent_ns: 0 }
    }

    #[test]
    fn an_answer_counts_once_and_for_its_own_ping() {
        let mut flow = flow([5, 6]);
        assert_eq!(flow.answered(&[0, 0, 0, 6], &Answer::Number), Matched::For(waiting(6), Ok(())));
        assert_eq!(flow.answered(&[0, 0, 0, 6], &Answer::Number), Matched::Stray);
        assert_eq!(flow.lost(6), None);
        assert_eq!(flow.lost(5), Some(waiting(5)));
        assert_eq!(flow.answered(&[0, 0, 0, 5], &Answer::Number), Matched::Stray);
    }

    #[test]
    fn a_wrong_answer_fails_the_oldest_ping() {
        let mut flow = flow([5, 6]);
        let wrong = Err(Failure::WrongContent);
        assert_eq!(flow.answered(b"abc", &Answer::Number), Matched::For(waiting(5), wrong));
        assert_eq!(flow.answered(b"abc", &Answer::Length(4)), Matched::For(waiting(6), wrong));
        assert_eq!(flow.answered(b"abc", &Answer::Length(3)), Matched::Stray);
    }
}
