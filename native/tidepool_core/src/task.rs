//! One call as a future that its caller drives.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::brevity::BRIEF;
use crate::error::CallError;
use crate::function::Link;
use crate::limits::Limit;
use crate::metrics::Outcome;
use crate::port::{HostReply, HostRequest, Port};
use crate::ticker::SLICE;
use crate::turns::Turn;

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

/// For drivers who are not to be woken.
type NoWaker = fn(&tokio::runtime::Handle) -> Waker;

/// Why a task ends before its guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Its time is over.
    Timeout,
    /// Nobody wants its answer any more.
    Aborted,
}

/// What a call has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What its guest has computed.
    pub cpu_time: Duration,
    /// What it has waited for an instance.
    pub queue_time: Duration,
    /// Size of its guest's linear memory when it let go of its instance; 0 before, and without one.
    pub memory_bytes: usize,
}

/// A call that has been started. Dropping it ends the guest and frees its instance.
pub struct Task {
    /// `None` once the call is over.
    future: Option<CallFuture>,
    link: Arc<Link>,
    started_at: Instant,
    deadline: Instant,
    slice: Slice,
    /// Whether the last slice ended with the tick.
    yielded: bool,
    turn: Turn,
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
    pub(crate) fn new(future: CallFuture, link: Arc<Link>, timeout: Duration) -> Self {
        let started_at = Instant::now();
        // A deadline too far off for the clock is as good as a year.
        let far = Duration::from_secs(365 * 24 * 3600);
        let deadline = started_at.checked_add(timeout).unwrap_or(started_at + far);
        let future = Some(future);
        let cpu_time = Duration::ZERO;
        Task {
            future,
            link,
            started_at,
            deadline,
            slice: Slice::NotYet,
            yielded: false,
            turn: Turn::None,
            cpu_time,
            counted: true,
        }
    }

    /// Keeps the task out of the metrics, which count what callers ask for.
    pub(crate) fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    /// Runs the guest on this thread for one time slice at most, or until it needs something.
    ///
    /// The first slice is 1 ms. Guests that go on take turns, for slices of 50 µs: no more of them run at a time than there
    /// are cores, so that whoever else has something to do finds one.
    ///
    /// `waker` is asked for only if the call waits, and given a handle to the I/O threads; what it makes may be woken on
    /// any thread, this one among them. The last one counts.
    pub fn drive(&mut self, waker: impl FnMut(&tokio::runtime::Handle) -> Waker) -> Step {
        self.run_slice(Some(waker))
    }

    /// Like [`Task::drive`], for the first slice and on a thread that others wait for: see [`Function::is_brief`](crate::Function::is_brief).
    ///
    /// After [`Step::Wait`] nobody is woken: whoever goes on drives again at once, and so misses nothing.
    pub fn drive_in_passing(&mut self) -> Step {
        let mut step = self.run_slice(None::<NoWaker>);
        let mut took = self.last_slice();
        // The tick may come right after the start: a call that has had next to nothing of its slice goes on.
        if matches!(step, Step::Yield) && took < BRIEF {
            step = self.run_slice(None::<NoWaker>);
            took += self.last_slice();
        }
        self.link.replica.brevity.charge(took);
        step
    }

    fn run_slice(&mut self, mut waker: Option<impl FnMut(&tokio::runtime::Handle) -> Waker>) -> Step {
        let Some(future) = self.future.as_mut() else {
            return Step::Done(Err(CallError::Internal { message: "the call is over already".into() }));
        };
        // Wall time holds what the system gave to others, which a busy machine makes plenty. A guest that goes on after
        // it has yielded, or after a slice's worth of computing, is worth system calls to leave that out.
        let clock = (std::mem::take(&mut self.yielded) || self.cpu_time >= SLICE).then(ThreadClock::now);
        // A call is driven right after it was started.
        let began = match self.slice {
            Slice::NotYet => self.started_at,
            Slice::Last { .. } => Instant::now(),
        };
        if began >= self.deadline {
            return self.finish(Err(self.late()));
        }
        let runtime = self.link.replica.runtime();
        if self.link.port.long()
            && self
                .turn
                .take(&runtime.turns, || {
                    waker.as_mut().map_or_else(|| Waker::noop().clone(), |waker| waker(&runtime.io))
                })
                .is_pending()
        {
            self.slice = Slice::Last { ended: began, took: Duration::ZERO };
            return Step::Wait;
        }
        let polled = {
            // Only WASI waits for I/O, so only its guests are polled inside the I/O runtime.
            let _io = self.link.replica.module.uses_wasi.then(|| runtime.io.enter());
            let _running = runtime.ticker.running();
            // A panic leaves a future behind that is never polled again.
            let waker = waker.map(|mut waker| move || waker(&runtime.io));
            catch_unwind(AssertUnwindSafe(|| poll(future.as_mut(), &self.link.port, waker)))
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        self.cpu_time += clock.map_or(took.min(SLICE), |clock| clock.elapsed());
        self.slice = Slice::Last { ended: now, took };
        if self.cpu_time >= SLICE && !self.link.port.long() {
            self.link.port.set_long();
        }
        match polled {
            Ok(Polled::Ready(outcome)) => self.finish(outcome),
            // Whatever else the guest wants, it has no more time to want it in.
            Ok(_) if self.cpu_time > self.link.replica.limits().cpu_time() => {
                let allowed = self.link.replica.limits().cpu_time_ms;
                let console = self.link.port.console();
                self.finish(Err(CallError::Limit { limit: Limit::CpuTime, allowed, frames: Vec::new(), console }))
            }
            Ok(_) if now >= self.deadline => self.finish(Err(self.late())),
            Ok(Polled::Host(request)) => {
                self.turn = Turn::None;
                Step::Host(request)
            }
            Ok(Polled::Yield) => {
                self.yielded = true;
                self.turn.spend();
                Step::Yield
            }
            Ok(Polled::Wait) => {
                self.turn = Turn::None;
                Step::Wait
            }
            Err(panic) => self.finish(Err(CallError::Internal { message: panic_text(panic.as_ref()) })),
        }
    }

    /// Answers the host call that [`Step::Host`] brought.
    pub fn answer(&self, reply: HostReply) {
        self.link.port.answer(reply);
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

    /// The version of the function that is called.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.link.replica.shared.version
    }

    /// What the call has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            cpu_time: self.cpu_time,
            queue_time: self.link.port.queue_time(),
            memory_bytes: self.link.port.memory_bytes(),
        }
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
        self.turn = Turn::None;
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
        self.link.replica.shared.stats.record(outcome, latency, self.cpu_time);
    }

    /// A call that still waits for an instance was not slow: the node is full.
    fn late(&self) -> CallError {
        if self.link.port.queued() {
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
/// is polled again, to meet the real waker if there is one.
fn poll(mut future: Pin<&mut CallBody>, port: &Port, waker: Option<impl FnOnce() -> Waker>) -> Polled {
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
    let Some(waker) = waker else { return Polled::Wait };
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
///
/// Asking the kernel for it takes up to 1.5 µs, where asking for wall time takes 50 ns. So a slice that begins right after
/// another has ended takes the end of that and the wall time since, and is charged with what its one question costs.
struct ThreadClock(Duration);

/// Whoever loses its core loses it for longer.
const RIGHT_AFTER: Duration = Duration::from_micros(20);

thread_local! {
    /// When this thread was asked last, and what it had computed.
    static LAST_ASKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

impl ThreadClock {
    fn now() -> Self {
        let since = LAST_ASKED.get().map(|(asked, computed)| (asked.elapsed(), computed));
        match since {
            Some((since, computed)) if since < RIGHT_AFTER => ThreadClock(computed + since),
            _ => ThreadClock(Self::ask()),
        }
    }

    fn elapsed(&self) -> Duration {
        let computed = Self::ask();
        LAST_ASKED.set(Some((Instant::now(), computed)));
        computed.saturating_sub(self.0)
    }

    fn ask() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanoseconds)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the host panicked while it ran the guest: {}", text.unwrap_or("no text"))
}
