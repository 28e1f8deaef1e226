//! One call as a future that its caller drives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::held::Held;
use super::member::Member;
use super::poll::{Polled, end_process, poll};
use super::serve::made;
use super::target::{Call, CallFuture, Target};
use crate::abi::guest::Guest;
use crate::base::error::CallError;
use crate::base::limits::{Limit, TRIAL_MS};
use crate::base::request::{HostReply, Reply, Request};
use crate::base::trap::Frame;
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
    /// Where its guest was when it was cut while it computed, of a call that is recorded.
    cut_at: Vec<Frame>,
    /// Whether it is a replay, which reports by itself where it was stopped.
    pub(super) replays: bool,
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
        let mut request = Request::none();
        if let Some(probe) = (target.entry.probe)() {
            request.payload = probe;
        }
        let call = Call::new(Arc::clone(target), request);
        let timeout = Duration::from_millis(target.limits().time_ms.min(TRIAL_MS));
        let mut task = Task::new((target.entry.trial)(call.clone()), call, timeout);
        task.counted = false;
        task
    }

    /// A replay, by the future that `start` makes of it. The metrics don't count it.
    pub(crate) fn start_replay(target: &Arc<Target>, start: impl FnOnce(Call) -> CallFuture) -> Self {
        let call = Call::new(Arc::clone(target), Request::none());
        let timeout = Duration::from_millis(target.limits().time_ms);
        let mut task = Task::new(start(call.clone()), call, timeout);
        (task.counted, task.replays) = (false, true);
        task
    }

    /// The same, which ends whenever its driver likes.
    pub(crate) fn without_deadline(mut self) -> Self {
        self.deadline = far_after(self.started_at);
        self
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
        let deadline = started_at.checked_add(timeout).unwrap_or_else(|| far_after(started_at));
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
            cut_at: Vec::new(),
            replays: false,
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
        // What it was has come to its end, and not to one of its own.
        self.record_end(&aborted());
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
            self.note_cut();
            self.failed(&error, why == Cancel::Aborted);
            self.record_end(&error);
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

    /// The last line that the guest printed in this call, at most 1 KiB of it, and its number among those of the call, from 1 on; `None`
    /// when that is no greater than `after`.
    #[must_use]
    pub fn last_line(&self, after: u64) -> Option<(u64, String)> {
        self.call.channel.last_line(after)
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

    /// Keeps what it was told, where it is on a tape.
    pub(super) fn record(&self, outcome: Result<&Reply, &CallError>) {
        self.keep(outcome, false);
    }

    /// The same of one that somebody ends. A process has not failed by that.
    fn record_end(&self, error: &CallError) {
        self.keep(Err(error), self.member.is_some());
    }

    fn keep(&self, outcome: Result<&Reply, &CallError>, is_ended: bool) {
        if let Some(policy) = &self.call.target.function.record
            && let Some(place) = self.call.channel.taped()
            // One that still waits for an instance was told nothing.
            && self.call.channel.queued().is_none()
        {
            policy.keep(place, outcome, is_ended, &self.cut_at);
        }
    }

    /// Has the guest of a call that is recorded show where it is, before it is cut.
    pub(super) fn note_cut(&mut self) {
        if self.call.channel.taped().is_some() {
            self.poll_once_more();
        }
    }

    /// Polls a guest that computes, and is to be stopped, once more: at its next tick it shows where it is. What the call came to, if it
    /// is over by that.
    pub(super) fn poll_once_more(&mut self) -> Option<Result<Reply, CallError>> {
        let (channel, node) = (&self.call.channel, &self.call.target.node);
        let future = self.future.as_mut().filter(|_future| self.yielded)?;
        channel.look();
        let _io = self.call.target.module.uses_io.then(|| node.io.enter());
        let _running = node.ticker.running();
        let polled = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut(), channel, None::<fn() -> Waker>, None)));
        self.cut_at = channel.take_seen().unwrap_or_default();
        match polled {
            Ok(Polled::Ready(outcome)) => {
                // It is never polled again.
                drop_future(self.future.take());
                Some(outcome)
            }
            _ => None,
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
        let stats = &self.call.target.function.stats;
        stats.record(outcome, latency, self.cpu_time);
        if let Some(status) = self.call.request.payload.status() {
            stats.record_response(status);
        }
    }

    /// Why a call is late: one that still waits for an instance was not slow, the node is full.
    pub(super) fn late(&self) -> CallError {
        match (self.call.channel.queued(), &self.call.target.namespace) {
            (None, _) => CallError::Timeout,
            (Some(Wait::Namespace), Some(namespace)) => namespace.late(self.call.target.module.places),
            (Some(_), _) => {
                CallError::Overloaded { message: "no instance became free within the call's time limit".into() }
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.note_cut();
            self.failed(&aborted(), true);
            self.record_end(&aborted());
            self.end(Outcome::Aborted);
        }
    }
}

/// A time too far off for the clock is as good as a hundred years.
fn far_after(time: Instant) -> Instant {
    time + Duration::from_secs(100 * 365 * 24 * 3600)
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
