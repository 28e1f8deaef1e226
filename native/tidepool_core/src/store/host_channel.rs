//! The host channel: by which a guest calls the host through the driver of its task, and what else these two share of a call.

use std::any::Any;
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::base::request::{HostReply, HostRequest, Request};
use crate::base::trap::Frame;
use crate::os::thread_clock::ThreadClock;
use crate::recording::outside::packed::Packed;
use crate::recording::tape::Place;
use crate::slice::epoch::FIRST_SLICE_TICKS;
use crate::store::frames::Stays;
use crate::store::tail::Tail;
use crate::value::Value;

/// A call, shared by its task and its guest.
pub(crate) struct CallContext<T: ?Sized> {
    pub(crate) channel: HostChannel,
    /// What the caller asks.
    pub(crate) request: Request,
    /// The call target. Stores don't know its type: they have a [`GuestCall`].
    pub(crate) target: T,
}

/// A reference to a call. Its count is not atomic: each call makes, copies and drops some, and nobody else touches it.
///
/// All references to a call belong to its task: its own, that of its future, and that of the instance which the future has. An
/// instance drops its reference before it leaves the task, for its pool, its owner or the drop thread.
pub(crate) struct CallRef<T: ?Sized>(Rc<CallContext<T>>);

/// A call, as the store of its guest knows it.
pub(crate) type GuestCall = CallRef<dyn Send + Sync>;

// SAFETY: a task is driven, moved and dropped as a whole, by one thread at a time: its owner has it by value, or under a lock. So
// with all references in it, as said above, no two threads use the count at a time. The call itself may be shared, for `T` may.
unsafe impl<T: ?Sized + Send + Sync> Send for CallRef<T> {}
// SAFETY: the same. A reference to one of them stays in the task as well: futures hold such across waits.
unsafe impl<T: ?Sized + Send + Sync> Sync for CallRef<T> {}

impl<T: Send + Sync + 'static> CallRef<T> {
    pub(crate) fn new(target: T, request: Request) -> Self {
        CallRef(Rc::new(CallContext { channel: HostChannel::default(), request, target }))
    }

    /// For the store of the guest.
    pub(crate) fn for_guest(&self) -> GuestCall {
        CallRef(Rc::<CallContext<T>>::clone(&self.0))
    }
}

impl<T: ?Sized> CallRef<T> {
    /// How many there are to this call.
    #[cfg(test)]
    pub(crate) fn references(&self) -> usize {
        Rc::strong_count(&self.0)
    }
}

impl<T: ?Sized> Clone for CallRef<T> {
    fn clone(&self) -> Self {
        CallRef(Rc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for CallRef<T> {
    type Target = CallContext<T>;

    fn deref(&self) -> &CallContext<T> {
        &self.0
    }
}

/// The channel of one task. The guest posts a request and waits; the driver takes it and answers.
#[derive(Debug, Default)]
pub(crate) struct HostChannel {
    exchange: Mutex<Exchange>,
    queue: Mutex<Queue>,
    tail: OnceLock<Arc<Tail>>,
    /// Its place on the tape of its instance, if that has one.
    taped: OnceLock<Place>,
    /// What it is part of, as its requests to servers say.
    trace: OnceLock<Box<HeaderValue>>,
    // Written and read by the driver's thread, in and around a poll: any ordering does.
    memory_bytes: AtomicUsize,
    long: AtomicBool,
    /// Whether `wake_at` has a time.
    timed: AtomicBool,
    wake_at: Mutex<Option<Instant>>,
    gift: Mutex<Option<Gift>>,
    /// Whether the driver wants to know where the guest is.
    looked_for: AtomicBool,
    seen: Mutex<Option<Vec<Frame>>>,
    /// Whether the guest waits where it can be told to give up.
    rests: AtomicBool,
    /// That it is to, by the error that it ends with.
    end: Mutex<Option<wasmtime::Error>>,
    /// Whether the guest is to leave its stack at its next wait, whether it is to be packed then, and why it did not leave.
    is_to_leave: AtomicBool,
    is_to_be_packed: AtomicBool,
    stays: Mutex<Option<Box<Stays>>>,
    /// The guest, packed, and when the wait that it was in is over.
    packed: Mutex<Option<Box<Outcome>>>,
    /// When the slice that runs has used up what its guest may compute.
    cpu_end: Mutex<Option<ThreadClock>>,
}

/// What came of packing a guest: that, and when its wait is over, or what it can't take along.
pub(crate) type Outcome = Result<(Packed, Instant), Stays>;

/// What an answer carries beside its bytes.
pub(crate) type Gift = Arc<dyn Any + Send + Sync>;

/// Whose instances a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its function's, or the node's.
    Node,
    /// Its namespace's.
    Namespace,
}

/// The wait for an instance.
#[derive(Debug, Default)]
struct Queue {
    /// Since when the call waits, if it does, and for whose.
    since: Option<(Instant, Wait)>,
    /// How long it waited before that.
    waited: Duration,
}

#[derive(Debug, Default)]
struct Exchange {
    request: Option<HostRequest>,
    /// The driver has taken a request and has not answered it yet.
    asked: bool,
    reply: Option<HostReply>,
}

impl HostChannel {
    /// The guest's side: posts `request` and waits for the reply.
    pub(crate) async fn ask(&self, request: HostRequest) -> HostReply {
        let mut request = Some(request);
        // No waker is kept: the driver that answers is the one that polls next.
        poll_fn(|_| {
            let mut exchange = self.exchange();
            if request.is_some() {
                exchange.request = request.take();
                return Poll::Pending;
            }
            let Some(reply) = exchange.reply.take() else {
                self.stay_here();
                return Poll::Pending;
            };
            Poll::Ready(reply)
        })
        .await
    }

    /// The driver's side: takes the request that the guest has posted.
    pub(crate) fn take_request(&self) -> Option<HostRequest> {
        let mut exchange = self.exchange();
        let request = exchange.request.take();
        exchange.asked |= request.is_some();
        request
    }

    /// The driver's side: answers the request that it took. A second answer is ignored.
    pub(crate) fn answer(&self, reply: HostReply) {
        let mut exchange = self.exchange();
        if std::mem::take(&mut exchange.asked) {
            exchange.reply = Some(reply);
        }
    }

    /// Notes whether the call waits for an instance, and whose.
    pub(crate) fn set_queued(&self, queued: Option<Wait>) {
        let mut queue = self.queue();
        if let Some((since, _)) = queue.since.take() {
            queue.waited += since.elapsed();
        }
        queue.since = queued.map(|wait| (Instant::now(), wait));
    }

    /// Notes when the slice that begins will have used up what its guest may compute.
    pub(crate) fn set_cpu_end(&self, end: ThreadClock) {
        *self.cpu_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Whether the guest that runs has used up what it may compute, and has yet to be stopped. A look at the system's clock.
    pub(crate) fn cpu_is_spent(&self) -> bool {
        self.cpu_end.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(ThreadClock::has_passed)
    }

    /// Gives something along with the answer that follows.
    pub(crate) fn give(&self, gift: Gift) {
        *self.gift.lock().unwrap_or_else(PoisonError::into_inner) = Some(gift);
    }

    /// Takes the value that came with the last answer.
    pub(crate) fn take_value(&self) -> Option<Arc<Value>> {
        self.take_gift()?.downcast().ok()
    }

    /// The value that came with the last answer, which stays there.
    pub(crate) fn value(&self) -> Option<Arc<Value>> {
        let gift = self.gift.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gift?.downcast().ok()
    }

    /// Takes what came with the last answer.
    pub(crate) fn take_gift(&self) -> Option<Gift> {
        self.gift.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The driver's side: has the guest show where it is, in the next slice.
    pub(crate) fn look(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.looked_for.store(true, Ordering::Relaxed);
    }

    /// Does somebody look, and has not been shown yet?
    pub(crate) fn is_looked_for(&self) -> bool {
        self.looked_for.load(Ordering::Relaxed)
    }

    /// What the guest has shown since, if it has: where it is, innermost first.
    pub(crate) fn take_seen(&self) -> Option<Vec<Frame>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The guest's side, on its stack: shows where it is, when somebody looks.
    pub(crate) fn show(&self, frames: impl FnOnce() -> Vec<Frame>) {
        if self.looked_for.load(Ordering::Relaxed) {
            self.looked_for.store(false, Ordering::Relaxed);
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(frames());
        }
    }

    /// Notes whether the guest waits where it looks for [`Self::take_end`].
    pub(crate) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// Tells a guest that rests to end with `error`, when it is driven next; `false` when it doesn't rest.
    pub(crate) fn give_up(&self, error: impl FnOnce() -> wasmtime::Error) -> bool {
        let rests = self.rests.load(Ordering::Relaxed);
        if rests {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(error());
        }
        rests
    }

    /// What the guest is to end with, if it is to.
    pub(crate) fn take_end(&self) -> Option<wasmtime::Error> {
        if !self.rests.load(Ordering::Relaxed) {
            return None;
        }
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The driver's side: has the guest leave its stack, at the next wait in which it can, and packs it then if that is said.
    pub(crate) fn ask_to_leave(&self, packs: bool) {
        *self.stays.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.is_to_be_packed.store(packs, Ordering::Relaxed);
        self.is_to_leave.store(true, Ordering::Relaxed);
    }

    /// The guest's side, in such a wait: whether it is to leave its stack.
    pub(crate) fn is_to_leave(&self) -> bool {
        self.is_to_leave.load(Ordering::Relaxed)
    }

    /// The guest's side, where it waits in an import that it can't be left in: it will leave its stack later, if it is to.
    pub(crate) fn stay_here(&self) {
        if self.is_to_leave() {
            *self.stays.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(Stays::Import));
        }
    }

    /// The guest's side: what came of that.
    pub(crate) fn left(&self, outcome: Result<(), Stays>) {
        self.is_to_leave.store(false, Ordering::Relaxed);
        *self.stays.lock().unwrap_or_else(PoisonError::into_inner) = outcome.err().map(Box::new);
    }

    /// Has who froze the guest it packed, if that was asked for: until it goes on.
    pub(crate) fn pack(&self, outcome: impl FnOnce() -> Outcome) {
        let packed = self.is_to_be_packed.load(Ordering::Relaxed).then(|| Box::new(outcome()));
        *self.packed.lock().unwrap_or_else(PoisonError::into_inner) = packed;
    }

    /// It goes on here.
    pub(crate) fn unpack(&self) {
        *self.packed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The driver's side: looks at what was packed, if anything was.
    pub(crate) fn packed<T>(&self, look: impl FnOnce(&Outcome) -> T) -> Option<T> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).as_deref().map(look)
    }

    /// Why the guest did not leave its stack in the wait that it was in; once.
    pub(crate) fn take_stays(&self) -> Option<Stays> {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).take().map(|stays| *stays)
    }

    /// Notes when the guest is to be driven again if nobody wakes it before.
    pub(crate) fn set_wake_at(&self, at: Option<Instant>) {
        if at.is_some() || self.timed.load(Ordering::Relaxed) {
            self.timed.store(at.is_some(), Ordering::Relaxed);
            *self.wake_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
        }
    }

    /// When the guest is to be driven again if nobody wakes it before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if !self.timed.load(Ordering::Relaxed) {
            return None;
        }
        *self.wake_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the guest has used up its first slice.
    pub(crate) fn set_long(&self, long: bool) {
        self.long.store(long, Ordering::Relaxed);
    }

    /// Whether the guest has used up its first slice.
    pub(crate) fn long(&self) -> bool {
        self.long.load(Ordering::Relaxed)
    }

    /// Length of the guest's next slice, in ticks.
    pub(crate) fn slice_ticks(&self) -> u64 {
        if self.long() { 1 } else { FIRST_SLICE_TICKS }
    }

    /// Whether the call waits for an instance, and whose.
    pub(crate) fn queued(&self) -> Option<Wait> {
        self.queue().since.map(|(_, wait)| wait)
    }

    /// How long the call has waited for an instance.
    pub(crate) fn queue_time(&self) -> Duration {
        let queue = self.queue();
        queue.waited + queue.since.map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// Connects the lines that the guest prints in this call.
    pub(crate) fn set_tail(&self, tail: &Arc<Tail>) {
        self.tail.get_or_init(|| Arc::clone(tail));
    }

    /// Says what the call is part of: the header `traceparent` of the W3C's Trace Context.
    pub(crate) fn set_trace(&self, traceparent: HeaderValue) {
        let _already = self.trace.set(Box::new(traceparent));
    }

    /// What was said of that.
    pub(crate) fn trace(&self) -> Option<&HeaderValue> {
        self.trace.get().map(|header| &**header)
    }

    /// Notes where the call is on the tape of its instance.
    pub(crate) fn set_taped(&self, place: Place) {
        self.taped.get_or_init(|| place);
    }

    /// Where the call is on the tape of its instance, if it has begun on one that has one.
    pub(crate) fn taped(&self) -> Option<&Place> {
        self.taped.get()
    }

    /// The last lines that the guest printed in this call.
    pub(crate) fn console(&self) -> Vec<String> {
        self.tail.get().map_or_else(Vec::new, |tail| tail.lines())
    }

    /// The last of them and its number, unless this is no greater than `after`.
    pub(crate) fn last_line(&self, after: u64) -> Option<(u64, String)> {
        self.tail.get()?.last(after)
    }

    /// Notes the size of the guest's memory when the call gives up its instance. Memories only grow.
    pub(crate) fn note_memory(&self, bytes: usize) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The size of the guest's memory, in bytes, as noted; 0 before.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        // Nothing panics while it holds the lock, and the exchange is consistent between any two statements.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
