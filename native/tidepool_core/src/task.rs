//! One call as a future that its caller drives.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::error::CallError;
use crate::function::Function;
use crate::limits::Limit;
use crate::metrics::Outcome;
use crate::port::{HostReply, HostRequest, Port};
use crate::ticker::TICK;

type CallBody = dyn Future<Output = Result<Vec<u8>, CallError>> + Send;
/// The whole of a call, from getting an instance to giving it back.
pub(crate) type CallFuture = Pin<Box<CallBody>>;

/// What a call needs next.
#[derive(Debug)]
pub enum Step {
    /// It is over: the reply, or why there is none.
    Done(Result<Vec<u8>, CallError>),
    /// The guest waits for the host: do it, pass the answer to [`Task::answer`], drive again.
    Host(HostRequest),
    /// The time slice is spent: drive again as soon as others have had their turn.
    Yield,
    /// It waits for I/O or for an instance: drive again when the waker has been woken.
    Wait,
}

/// Why a task ends before its guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Its time is over.
    Timeout,
    /// Nobody wants its answer any more.
    Aborted,
}

/// A call that has been started. Dropping it ends the guest and frees its instance.
pub struct Task {
    /// `None` once the call is over.
    future: Option<CallFuture>,
    port: Arc<Port>,
    function: Arc<Function>,
    started_at: Instant,
    deadline: Instant,
    slice: Slice,
    /// Whether the last slice ended with the tick.
    yielded: bool,
    cpu_time: Duration,
    /// Whether the call shows in the metrics.
    counted: bool,
}

/// When the guest last ran. Reading the clock is a tenth of a short call, so it is read twice for one and no more.
#[derive(Clone, Copy)]
enum Slice {
    NotYet,
    Last { ended: Instant, took: Duration },
}

impl Task {
    pub(crate) fn new(future: CallFuture, port: Arc<Port>, function: Arc<Function>, timeout: Duration) -> Self {
        let started_at = Instant::now();
        // A deadline too far off for the clock is as good as a year.
        let far = Duration::from_secs(365 * 24 * 3600);
        let deadline = started_at.checked_add(timeout).unwrap_or(started_at + far);
        let future = Some(future);
        let cpu_time = Duration::ZERO;
        Task {
            future,
            port,
            function,
            started_at,
            deadline,
            slice: Slice::NotYet,
            yielded: false,
            cpu_time,
            counted: true,
        }
    }

    /// Keeps the task out of the metrics, which count what callers ask for.
    pub(crate) fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    /// Runs the guest on this thread for one time slice at most (1 ms), or until it needs something.
    ///
    /// `waker` is asked for only if the call waits, and given a handle to the I/O threads; what it makes may be woken on
    /// any thread, this one among them.
    pub fn drive(&mut self, waker: impl FnOnce(&tokio::runtime::Handle) -> Waker) -> Step {
        let Some(future) = self.future.as_mut() else {
            return Step::Done(Err(CallError::Internal { message: "the call is over already".into() }));
        };
        // A call is driven right after it was started.
        let began = match self.slice {
            Slice::NotYet => self.started_at,
            Slice::Last { .. } => Instant::now(),
        };
        if began >= self.deadline {
            return self.finish(Err(self.late()));
        }
        // Wall time holds what the system gave to others, which a busy machine makes plenty. A guest that goes on after
        // it has yielded is worth system calls to leave that out; other slices are short, or end with the tick.
        let clock = std::mem::take(&mut self.yielded).then(ThreadClock::now);
        let runtime = self.function.runtime();
        let polled = {
            // Only WASI waits for I/O, so only its guests are polled inside the I/O runtime.
            let _io = self.function.uses_wasi().then(|| runtime.io.enter());
            let _running = runtime.ticker.running();
            // A panic leaves a future behind that is never polled again.
            let waker = || waker(&runtime.io);
            catch_unwind(AssertUnwindSafe(|| poll(future.as_mut(), &self.port, waker)))
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        self.cpu_time += clock.map_or(took.min(TICK), |clock| clock.elapsed().min(took));
        self.slice = Slice::Last { ended: now, took };
        match polled {
            Ok(Polled::Ready(outcome)) => self.finish(outcome),
            Ok(Polled::Host(request)) => Step::Host(request),
            Ok(Polled::Yield) if self.cpu_time > self.function.limits().cpu_time() => {
                let allowed = self.function.limits().cpu_time_ms;
                self.finish(Err(CallError::Limit { limit: Limit::CpuTime, allowed, frames: Vec::new() }))
            }
            Ok(Polled::Yield) if now >= self.deadline => self.finish(Err(self.late())),
            Ok(Polled::Yield) => {
                self.yielded = true;
                Step::Yield
            }
            Ok(Polled::Wait) => Step::Wait,
            Err(panic) => self.finish(Err(CallError::Internal { message: panic_text(panic.as_ref()) })),
        }
    }

    /// Answers the host call that [`Step::Host`] brought.
    pub fn answer(&self, reply: HostReply) {
        self.port.answer(reply);
    }

    /// Ends the call now: the guest is stopped where it is and its instance is gone when this returns.
    pub fn cancel(&mut self, why: Cancel) -> CallError {
        let error = match why {
            Cancel::Timeout => self.late(),
            Cancel::Aborted => CallError::Internal { message: "the call was aborted".into() },
        };
        if self.future.is_some() {
            let outcome =
                if why == Cancel::Aborted { Outcome::Aborted } else { Outcome::from(&Err::<(), _>(error.clone())) };
            self.end(outcome);
        }
        error
    }

    /// Time that was left until the call's deadline when its guest last stopped.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let now = match self.slice {
            Slice::NotYet => self.started_at,
            Slice::Last { ended, .. } => ended,
        };
        self.deadline.saturating_duration_since(now)
    }

    /// How long the last slice took.
    #[must_use]
    pub fn last_slice(&self) -> Duration {
        match self.slice {
            Slice::NotYet => Duration::ZERO,
            Slice::Last { took, .. } => took,
        }
    }

    fn finish(&mut self, outcome: Result<Vec<u8>, CallError>) -> Step {
        self.end(Outcome::from(&outcome));
        Step::Done(outcome)
    }

    fn end(&mut self, outcome: Outcome) {
        // What the guest leaves behind may be printed now, and a console may panic: nobody is there to take that.
        let future = self.future.take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
        if !self.counted {
            return;
        }
        let ended = match self.slice {
            Slice::Last { ended, .. } if outcome == Outcome::Ok => ended,
            _ => Instant::now(),
        };
        let latency = ended.saturating_duration_since(self.started_at);
        self.function.stats().record(outcome, latency, self.cpu_time);
    }

    /// A call that still waits for an instance was not slow: the node is full.
    fn late(&self) -> CallError {
        if self.port.queued() {
            return CallError::Overloaded { message: "no instance became free within the call's time limit".into() };
        }
        CallError::Timeout
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.end(Outcome::Aborted);
        }
    }
}

enum Polled {
    Ready(Result<Vec<u8>, CallError>),
    Host(HostRequest),
    Yield,
    Wait,
}

/// Polls with a waker that only notes that it was woken, which is all that a call needs which never waits; one that does
/// is polled again, to meet the real waker.
fn poll(mut future: Pin<&mut CallBody>, port: &Port, waker: impl FnOnce() -> Waker) -> Polled {
    NOTED.set(false);
    if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&NOTING)) {
        return Polled::Ready(outcome);
    }
    if let Some(request) = port.take_request() {
        return Polled::Host(request);
    }
    if NOTED.get() {
        return Polled::Yield;
    }
    let waker = waker();
    if let Poll::Ready(outcome) = future.poll(&mut Context::from_waker(&waker)) {
        return Polled::Ready(outcome);
    }
    match port.take_request() {
        Some(request) => Polled::Host(request),
        None => Polled::Wait,
    }
}

thread_local! {
    /// Was the noting waker woken on this thread since it was last reset?
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

static NOTING: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(Noting)));

struct Noting;

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        NOTED.set(true);
    }
}

/// A moment of this thread's own time: what it has computed, in user code and in the system.
struct ThreadClock(Duration);

impl ThreadClock {
    fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        ThreadClock(Duration::new(seconds, nanoseconds))
    }

    fn elapsed(&self) -> Duration {
        ThreadClock::now().0.saturating_sub(self.0)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the host panicked while it ran the guest: {}", text.unwrap_or("no text"))
}
