//! How a call's driver drives it, a time slice at a time.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::poll::{Kept, Polled, poll, poll_process};
use super::task::{Slice, Task};
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::{HostRequest, Reply};
use crate::metrics::counters::Outcome;
use crate::os::thread_clock::ThreadClock;
use crate::slice::epoch::{SLICE, slices};
use crate::slice::inline_estimate::INLINE_MAX;
use crate::slice::run_slots::RunSlot;

/// What a call needs next.
#[derive(Debug)]
pub enum Step {
    /// It is over: the reply, or why there is none.
    Done(Result<Reply, CallError>),
    /// The guest waits for the host: do it, pass the answer to [`Task::answer`], drive again.
    Host(HostRequest),
    /// The time slice is spent: drive again as soon as others have had their turn.
    Yield,
    /// It waits for I/O or for an instance: drive again when the waker has been woken.
    Wait,
}

/// A slice that another process of the VM may wait for, rather than have this one scheduled.
const INLINE_SLICE: Duration = Duration::from_micros(50);

/// For drivers that are not to be woken.
type NoWaker = fn(&tokio::runtime::Handle) -> Waker;

impl Task {
    /// Says what the call is part of: the header `traceparent` ([W3C Trace Context](https://www.w3.org/TR/trace-context/)) of requests that
    /// its guest sends to servers, where it may send any. What is no header's value changes nothing, and neither does a second one.
    pub fn set_trace(&self, traceparent: &impl Display) {
        if self.call.target.sockets.are_granted()
            && let Ok(header) = HeaderValue::try_from(traceparent.to_string())
        {
            self.call.channel.set_trace(header);
        }
    }

    /// Runs the guest on this thread for one time slice at most, or until it needs something.
    ///
    /// The first slice is 1 ms. Guests that go on run in slices of 50 µs, no more of them at a time than there are cores (run
    /// slots), so that other threads and processes find a core.
    ///
    /// `waker` is called only if the call waits, with a handle to the I/O threads. The waker that it makes may be woken on any
    /// thread, this one included. Only the last one is woken.
    pub fn drive(&mut self, waker: impl FnMut(&tokio::runtime::Handle) -> Waker) -> Step {
        self.run_slice(Some(waker), None)
    }

    /// Like [`Task::drive`], with a waker that is there already: for tasks that wait often.
    pub fn drive_kept(&mut self, kept: &Kept<'_>) -> Step {
        self.run_slice(None::<NoWaker>, Some(kept))
    }

    /// Like [`Task::drive`], for the first slice, on a thread that serves connections: see
    /// [`Function::suits_inline`](crate::Function::suits_inline).
    ///
    /// After [`Step::Wait`] no waker is woken: the driver that takes the task over drives it at once, and so misses nothing.
    pub fn drive_inline(&mut self) -> Step {
        let clock = self.call.target.inline_estimate.is_close().then(ThreadClock::now);
        let mut step = self.run_slice(None::<NoWaker>, None);
        let mut took = self.last_slice();
        // The tick may come right after the start: a call that has hardly run gets another slice.
        if matches!(step, Step::Yield) && took < INLINE_MAX {
            step = self.run_slice(None::<NoWaker>, None);
            took += self.last_slice();
        }
        self.call.target.inline_estimate.charge(clock.map_or(took, |clock| clock.elapsed().min(took)));
        step
    }

    fn run_slice(
        &mut self,
        mut waker: Option<impl FnMut(&tokio::runtime::Handle) -> Waker>,
        kept: Option<&Kept<'_>>,
    ) -> Step {
        let burst = self.burst();
        // The limit of a process may be less than a slice.
        let left = self.member.as_ref().and_then(|member| member.cpu.left(self.cpu_time));
        if let Some(error) = self.member.as_ref().and_then(|member| member.overrun()) {
            return self.cut(error);
        }
        if let Some(spent) = left.filter(|it| it.left.is_zero()) {
            return self.cut(self.cpu_is_spent(spent.limit, spent.allowed_ms()));
        }
        let Some(future) = self.future.as_mut() else {
            return Step::Done(Err(CallError::Internal { message: "the call is over already".into() }));
        };
        // Wall time includes what the system gave to other threads, which is much on a busy machine. A guest that goes on after
        // it has yielded, or after a slice of CPU time, or has an exact limit, is worth the system calls that leave it out.
        let has_yielded = std::mem::take(&mut self.yielded);
        let clock = (has_yielded || burst >= SLICE || left.is_some()).then(ThreadClock::now);
        if let (Some(clock), Some(left)) = (&clock, left) {
            self.call.channel.set_cpu_end(clock.later(left.left));
        }
        // A call is driven right after it was started.
        let began = match self.slice {
            Slice::NotYet => self.started_at,
            Slice::Last { .. } => Instant::now(),
        };
        if began >= self.deadline {
            self.yielded = has_yielded;
            return self.cut(self.late());
        }
        let node = &self.call.target.node;
        let slot_waker = || match (kept, waker.as_mut()) {
            (Some(kept), _) => kept.waker.clone(),
            (None, Some(waker)) => waker(&node.io),
            (None, None) => Waker::noop().clone(),
        };
        if self.call.channel.long() && self.slot.take(&node.slots, slot_waker).is_pending() {
            self.slice = Slice::Last { ended: began, took: Duration::ZERO };
            self.yielded = has_yielded;
            return Step::Wait;
        }
        let polled = {
            // Only guests that may wait for I/O are polled inside the I/O runtime.
            let _io = self.call.target.module.uses_io.then(|| node.io.enter());
            let _running = node.ticker.running();
            // A panic leaves a future behind that is never polled again.
            let waker = waker.map(|mut waker| move || waker(&node.io));
            let call = &self.call;
            catch_unwind(AssertUnwindSafe(|| match &mut self.member {
                None => poll(future.as_mut(), &call.channel, waker, kept),
                Some(member) => poll_process(future.as_mut(), member, call, waker, kept),
            }))
        };
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        let spent = clock.map_or(took.min(SLICE), |clock| clock.elapsed());
        self.cpu_time += spent;
        if let Some(member) = &mut self.member {
            member.burst += spent;
            member.cpu.charge(spent);
        }
        self.slice = Slice::Last { ended: now, took };
        if self.burst() >= SLICE && !self.call.channel.long() {
            self.call.channel.set_long(true);
        }
        if let Some(member) = &mut self.member {
            member.process.note_usage(self.cpu_time, self.call.channel.memory_bytes());
            if !matches!(&polled, Ok(Polled::Host(HostRequest::Process(request))) if request.is_control()) {
                member.let_go();
            }
            // A server that answers for years computes as little at a time as a short call.
            if matches!(polled, Ok(Polled::Host(_) | Polled::Wait)) && !member.burst.is_zero() {
                member.burst = Duration::ZERO;
                self.call.channel.set_long(false);
            }
        }
        self.yielded = matches!(polled, Ok(Polled::Yield));
        match polled {
            // A process may be through with more than its limit before a slice is over; a call has a slice in any case.
            Ok(Polled::Ready(outcome)) if left.is_none() || outcome.is_err() => self.finish(outcome),
            // Whatever the guest asks for, its CPU time is used up.
            Ok(_) if let Some(left) = left.filter(|it| spent > it.left) => {
                self.cut(self.cpu_is_spent(left.limit, left.allowed_ms()))
            }
            Ok(_) if self.member.is_none() && self.cpu_time > self.call.target.limits().cpu_time() => {
                self.cut(self.cpu_is_spent(Limit::CpuTime, self.call.target.limits().cpu_time_ms))
            }
            Ok(Polled::Ready(outcome)) => self.finish(outcome),
            Ok(_) if now >= self.deadline => self.cut(self.late()),
            Ok(Polled::Host(request)) => {
                self.slot = RunSlot::None;
                Step::Host(request)
            }
            Ok(Polled::Yield) => {
                self.slot.spend(slices(spent));
                Step::Yield
            }
            Ok(Polled::Wait) => {
                self.slot = RunSlot::None;
                Step::Wait
            }
            Err(panic) => self.finish(Err(CallError::Internal { message: panic_text(panic.as_ref()) })),
        }
    }

    /// The inline estimate of its next slice: whether its guest computes so little at a time, as of its last one, that whoever has
    /// woken it may drive it. What is due for the host is its driver's to send.
    #[must_use]
    pub fn suits_inline(&self) -> bool {
        let is_short = self.future.is_some() && !self.call.channel.long() && self.last_slice() < INLINE_SLICE;
        is_short && self.next_later().is_none_or(|due| due > Instant::now())
    }

    /// What the guest has computed: all of it, or if it is a process, since it last waited.
    fn burst(&self) -> Duration {
        self.member.as_ref().map_or(self.cpu_time, |member| member.burst)
    }

    fn cpu_is_spent(&self, limit: Limit, allowed: u64) -> CallError {
        CallError::Limit { limit, allowed, frames: Vec::new(), console: self.call.channel.console() }
    }

    /// Stops it, for this reason.
    fn cut(&mut self, error: CallError) -> Step {
        if self.replays {
            let report = self.poll_once_more();
            return self.finish(report.unwrap_or(Err(error)));
        }
        self.note_cut();
        self.finish(Err(error))
    }

    fn finish(&mut self, outcome: Result<Reply, CallError>) -> Step {
        if let Err(error) = &outcome {
            self.failed(error, matches!(error, CallError::ClientGone));
        }
        self.record(outcome.as_ref());
        self.end(Outcome::from(&outcome));
        Step::Done(outcome)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the host panicked while it ran the guest: {}", text.unwrap_or("no text"))
}
