//! One call as a future that its caller drives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::held::Held;
use super::member::Member;
use super::poll::end_process;
use super::serve::{made, trial};
use super::target::{Call, CallFuture, Target};
use crate::abi::guest::Guest;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::{HostReply, Request};
use crate::metrics::counters::Outcome;
use crate::slice::run_slots::RunSlot;
use crate::store::host_channel::Wait;
use crate::value::Value;

/// Why a task ends before its guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Its time is over.
    Timeout,
    /// Its caller is gone.
    Aborted,
}

/// What a call has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of its guest.
    pub cpu_time: Duration,
    /// How long it has waited for an instance.
    pub queue_time: Duration,
    /// Size of its guest's linear memory when it gave up its instance; 0 before, and without one.
    pub memory_bytes: usize,
}

/// A call that has been started. Dropping it ends the guest and frees its instance.
pub struct Task {
    /// `None` once the call is over.
    pub(super) future: Option<CallFuture>,
    pub(super) call: Call,
    pub(super) started_at: Instant,
    pub(super) deadline: Instant,
    pub(super) slice: Slice,
    /// Whether the last slice ended with a tick.
    pub(super) yielded: bool,
    pub(super) slot: RunSlot,
    pub(super) cpu_time: Duration,
    /// Whether the call shows in the metrics.
    counted: bool,
    /// A process's place in its program. Dropped after the future: with the process end its names, when it is gone.
    pub(super) member: Option<Box<Member>>,
}

/// When the guest last ran. Reading the clock is a tenth of a short call, so a short call reads it twice and no more.
#[derive(Clone, Copy)]
pub(super) enum Slice {
    NotYet,
    Last { ended: Instant, took: Duration },
}

impl Task {
    /// Prepares a call of `target`: the future that `start` makes of it.
    ///
    /// # Errors
    /// [`CallError::Limit`] when the payload is too large or the call too deeply nested; [`CallError::Quota`] when its namespace has
    /// had its calls.
    pub(crate) fn start(
        target: &Arc<Target>,
        request: Request,
        start: impl FnOnce(Call) -> CallFuture,
    ) -> Result<Self, CallError> {
        let limits = target.limits();
        target.accept(&request.payload)?;
        if request.depth > limits.depth {
            return Err(target.exceeded(Limit::Depth, u64::from(limits.depth)));
        }
        target.begin()?;
        let timeout = request.timeout.min(Duration::from_millis(limits.time_ms));
        let call = Call::new(Arc::clone(target), request);
        Ok(Task::new(start(call.clone()), call, timeout))
    }

    /// Prepares a trial: makes one instance, runs its start functions, drops it, and prints what start functions printed when
    /// the snapshot was taken. The metrics, which count calls, don't count it.
    pub(crate) fn start_trial(target: &Arc<Target>) -> Self {
        let call = Call::new(Arc::clone(target), Request::none());
        let timeout = Duration::from_millis(target.limits().time_ms);
        let mut task = Task::new(Box::pin(trial(call.clone())), call, timeout);
        task.counted = false;
        task
    }

    /// Makes the instance that is `held`, and leaves it there. The metrics don't count it, either.
    pub(crate) fn start_making(target: &Arc<Target>, held: Arc<Held>, timeout: Duration) -> Self {
        let call = Call::new(Arc::clone(target), Request::none());
        let timeout = timeout.min(Duration::from_millis(target.limits().time_ms));
        let mut task = Task::new(Box::pin(made(call.clone(), held)), call, timeout);
        task.counted = false;
        task
    }

    /// A process, which has no end.
    pub(super) fn process(future: CallFuture, call: Call, member: Member) -> Self {
        let mut task = Task::new(future, call, Duration::MAX);
        (task.counted, task.member) = (false, Some(Box::new(member)));
        task
    }

    fn new(future: CallFuture, call: Call, timeout: Duration) -> Self {
        let started_at = Instant::now();
        // A deadline too far off for the clock is as good as a hundred years.
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        let deadline = started_at.checked_add(timeout).unwrap_or(started_at + far);
        let future = Some(future);
        let cpu_time = Duration::ZERO;
        Task {
            future,
            call,
            started_at,
            deadline,
            slice: Slice::NotYet,
            yielded: false,
            slot: RunSlot::None,
            cpu_time,
            counted: true,
            member: None,
        }
    }

    /// Answers the host call that [`Step::Host`](crate::Step::Host) brought.
    pub fn answer(&self, reply: HostReply<impl Into<Bytes>>) {
        self.call.channel.answer(reply.map(Into::into).map_err(Into::into));
    }

    /// The same for the call of an import, which [`HostRequest::Import`](crate::HostRequest::Import) is.
    pub fn answer_value(&self, value: Value) {
        self.call.channel.give(Arc::new(value));
        self.call.channel.answer(Ok(Bytes::new()));
    }

    /// Goes on as another call: what its guest was is gone.
    pub(super) fn go_on_as(&mut self, call: Call, future: CallFuture, guest: Arc<Guest>) {
        self.slot = RunSlot::None;
        drop_future(self.future.replace(future));
        self.call = call;
        self.yielded = false;
        if let Some(member) = &mut self.member {
            member.go_on_as(guest);
            member.let_go();
        }
    }

    /// Ends the call now: the guest is stopped where it is and its instance is gone when this returns.
    pub fn cancel(&mut self, why: Cancel) -> CallError {
        let error = match why {
            Cancel::Timeout => self.late(),
            Cancel::Aborted => aborted(),
        };
        if self.future.is_some() {
            self.failed(&error, why == Cancel::Aborted);
            let outcome = if why == Cancel::Aborted { Outcome::Aborted } else { Outcome::from(&error) };
            self.end(outcome);
        }
        error
    }

    /// Time that was left until the call's deadline when its guest last stopped, or until it is to be driven again although
    /// nobody wakes it.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let now = match self.slice {
            Slice::NotYet => self.started_at,
            Slice::Last { ended, .. } => ended,
        };
        self.until().saturating_duration_since(now)
    }

    /// When that time is over.
    #[must_use]
    pub fn until(&self) -> Instant {
        [self.call.channel.wake_at(), self.next_later()].into_iter().flatten().fold(self.deadline, Instant::min)
    }

    /// When the next message is due that its driver sends for it.
    pub(super) fn next_later(&self) -> Option<Instant> {
        self.member.as_ref().and_then(|member| member.process.next_later())
    }

    /// The version of the function that is called.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.call.target.function.version
    }

    /// What the call has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            cpu_time: self.cpu_time,
            queue_time: self.call.channel.queue_time(),
            memory_bytes: self.call.channel.memory_bytes(),
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

    /// Keeps why it failed. Of a trial, its deployer is told; a process that somebody ends has not failed.
    pub(super) fn failed(&self, error: &CallError, is_aborted: bool) {
        if self.counted {
            self.call.target.failed(Some(&self.call.request), error, is_aborted);
        } else if self.member.is_some() && !is_aborted {
            self.call.target.failed(None, error, false);
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.slot = RunSlot::None;
        let process = outcome == Outcome::Aborted && self.member.is_some();
        match self.future.take() {
            Some(future) if process => drop(catch_unwind(AssertUnwindSafe(|| end_process(future, &self.call)))),
            future => drop_future(future),
        }
        self.member = None;
        if !self.counted {
            return;
        }
        let ended = match self.slice {
            Slice::Last { ended, .. } if outcome == Outcome::Ok => ended,
            _ => Instant::now(),
        };
        let latency = ended.saturating_duration_since(self.started_at);
        self.call.target.function.stats.record(outcome, latency, self.cpu_time);
    }

    /// Why a call is late: one that still waits for an instance was not slow, the node is full.
    pub(super) fn late(&self) -> CallError {
        match (self.call.channel.queued(), &self.call.target.namespace) {
            (None, _) => CallError::Timeout,
            (Some(Wait::Namespace), Some(namespace)) => namespace.late(),
            (Some(_), _) => {
                CallError::Overloaded { message: "no instance became free within the call's time limit".into() }
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.failed(&aborted(), true);
            self.end(Outcome::Aborted);
        }
    }
}

fn aborted() -> CallError {
    CallError::Internal { message: "the call was aborted".into() }
}

/// Dropping a future may print its guest's last line, and a console may panic: that must not reach the caller.
fn drop_future(future: Option<CallFuture>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(future))));
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
