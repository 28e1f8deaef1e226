//! Where a guest that wants the host and the driver of its task meet.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// A host call of a guest: what it wants done, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRequest {
    /// First part of the target's name.
    pub binding: Vec<u8>,
    /// Second part of the target's name.
    pub namespace: Vec<u8>,
    /// Third part of the target's name.
    pub operation: Vec<u8>,
    /// What the guest sends along.
    pub payload: Vec<u8>,
}

/// What the host answers: bytes, or the text of an error.
pub type HostReply = Result<Vec<u8>, Vec<u8>>;

/// One task's meeting point. The guest posts a request and waits; the driver takes it and answers.
#[derive(Debug, Default)]
pub(crate) struct Port {
    exchange: Mutex<Exchange>,
    // Written and read by the driver's thread, in and around a poll: any ordering does.
    queued: AtomicBool,
}

#[derive(Debug, Default)]
struct Exchange {
    request: Option<HostRequest>,
    /// The driver has taken a request, and nobody has answered it yet.
    asked: bool,
    reply: Option<HostReply>,
}

impl Port {
    /// The guest's side: posts `request` and waits for the reply.
    pub(crate) async fn ask(&self, request: HostRequest) -> HostReply {
        self.exchange().request = Some(request);
        // No waker is kept: the driver that answers is the one that polls next.
        poll_fn(|_| self.exchange().reply.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The driver's side: the request that the guest waits with.
    pub(crate) fn take_request(&self) -> Option<HostRequest> {
        let mut exchange = self.exchange();
        let request = exchange.request.take();
        exchange.asked |= request.is_some();
        request
    }

    /// The driver's side: answers the request that it took. Of two answers the first counts.
    pub(crate) fn answer(&self, reply: HostReply) {
        let mut exchange = self.exchange();
        if std::mem::take(&mut exchange.asked) {
            exchange.reply = Some(reply);
        }
    }

    /// Says whether the call waits for an instance.
    pub(crate) fn set_queued(&self, queued: bool) {
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// Does the call wait for an instance?
    pub(crate) fn queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        // Nothing panics while it holds the lock, and the exchange is consistent between any two statements.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
