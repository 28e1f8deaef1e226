//! Calls: tasks of the core, driven by the process that made them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{Cancel, Request, Step, Task};

use crate::deploy::FunctionHandle;
use crate::node::Node;
use crate::wake::Waker;
use crate::{atoms, decode, encode};

/// A call that did not end in its first slice. One process owns it, and its term never leaves that process: when the
/// process dies the VM frees its terms, and the guest is gone with this one.
///
/// (A monitor would hold for terms that escape, too. But it costs the owner a signal for each call, several times the
/// call itself, and resources that are made and freed by the million with monitors on them abort OTP 25 in
/// `ethr_mutex_lock`.)
pub(crate) struct TaskHandle {
    owner: LocalPid,
    call: Mutex<Option<Call>>,
}

struct Call {
    task: Task,
    /// The waker of the current wait.
    waker: Option<Arc<Waker>>,
}

#[rustler::resource_impl]
impl Resource for TaskHandle {}

impl TaskHandle {
    fn call(&self) -> MutexGuard<'_, Option<Call>> {
        // A panic while driving is caught in the core, so the lock is not poisoned by guests.
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls a published function and drives the call for its first slice. An `operation` of `nil` is the one it was
/// published with, a `timeout_ms` of `:infinity` is the function's own limit.
#[rustler::nif]
fn call<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    name: Binary<'a>,
    operation: Option<Binary<'a>>,
    payload: Binary<'a>,
    depth: u32,
    timeout_ms: Term<'a>,
) -> NifResult<Term<'a>> {
    let timeout = decode::timeout(timeout_ms)?;
    let started = std::str::from_utf8(name.as_slice()).ok().and_then(|name| {
        node.runtime.directory().with(name, |published| {
            let operation = operation.map_or(&*published.operation, |operation| operation.as_slice());
            let payload = payload.as_slice().to_vec();
            published.function.start(Request { operation: operation.to_vec(), payload, depth, timeout })
        })
    });
    Ok(match started {
        Some(Ok(task)) => first_slice(env, task),
        Some(Err(error)) => encode::call_error(env, &error),
        None => not_deployed(env),
    })
}

/// Starts a trial: an instance is made and dropped again.
#[rustler::nif]
fn start_trial(env: Env<'_>, function: ResourceArc<FunctionHandle>) -> Term<'_> {
    first_slice(env, function.0.start_trial())
}

/// Drives a call that yielded or was woken.
#[rustler::nif]
fn resume<'a>(env: Env<'a>, task: ResourceArc<TaskHandle>) -> Term<'a> {
    next_slice(env, &task)
}

/// Answers the host call that the task waits with, and drives it.
#[rustler::nif]
fn answer<'a>(env: Env<'a>, task: ResourceArc<TaskHandle>, reply: Term<'a>) -> NifResult<Term<'a>> {
    let reply = decode::host_reply(reply)?;
    if task.owner == env.pid()
        && let Some(call) = task.call().as_ref()
    {
        call.task.answer(reply);
    }
    Ok(next_slice(env, &task))
}

/// Ends a call now. `why` is `:timeout` or `:aborted`; returns the error, and whether a wake message was sent that nobody
/// has received.
#[rustler::nif]
fn cancel<'a>(env: Env<'a>, task: ResourceArc<TaskHandle>, why: Atom) -> (Term<'a>, bool) {
    let why = if why == atoms::timeout() { Cancel::Timeout } else { Cancel::Aborted };
    if task.owner != env.pid() {
        return (not_owner(env), false);
    }
    let Some(mut call) = task.call().take() else { return (over(env), false) };
    let error = call.task.cancel(why);
    let sent = call.waker.take().is_some_and(|waker| waker.disarm());
    (encode::call_error(env, &error), sent)
}

fn first_slice(env: Env<'_>, mut task: Task) -> Term<'_> {
    let owner = env.pid();
    let mut waker = None;
    let step = drive(env, &mut task, &mut waker, owner);
    if let Step::Done(outcome) = step {
        return encode::outcome(env, outcome);
    }
    let id = waker.as_ref().map_or(0, |waker| waker.id());
    let remaining = task.remaining();
    let handle = ResourceArc::new(TaskHandle { owner, call: Mutex::new(Some(Call { task, waker })) });
    unfinished(env, handle.encode(env), step, id, remaining)
}

fn next_slice<'a>(env: Env<'a>, handle: &ResourceArc<TaskHandle>) -> Term<'a> {
    if handle.owner != env.pid() {
        return not_owner(env);
    }
    let mut slot = handle.call();
    let Some(call) = slot.as_mut() else { return over(env) };
    if let Some(waker) = call.waker.take() {
        waker.disarm();
    }
    let step = drive(env, &mut call.task, &mut call.waker, handle.owner);
    if let Step::Done(outcome) = step {
        *slot = None;
        return encode::outcome(env, outcome);
    }
    let id = call.waker.as_ref().map_or(0, |waker| waker.id());
    let remaining = call.task.remaining();
    drop(slot);
    unfinished(env, handle.encode(env), step, id, remaining)
}

/// Drives `task` for a slice and reports to the VM how much of the process's own slice that took.
fn drive(env: Env<'_>, task: &mut Task, waker: &mut Option<Arc<Waker>>, owner: LocalPid) -> Step {
    let step = task.drive(|io| {
        let new = Waker::new(owner, io.clone());
        *waker = Some(Arc::clone(&new));
        std::task::Waker::from(new)
    });
    report(env, task.last_slice());
    step
}

fn unfinished<'a>(env: Env<'a>, task: Term<'a>, step: Step, id: u64, remaining: Duration) -> Term<'a> {
    // Rounded up: whoever waits so long has waited past the deadline.
    let remaining_ms = u64::try_from(remaining.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    match step {
        Step::Done(outcome) => encode::outcome(env, outcome),
        Step::Host(request) => encode::host_request(env, task, request, remaining_ms),
        Step::Yield => (atoms::r#yield(), task).encode(env),
        Step::Wait => (atoms::wait(), task, id, remaining_ms).encode(env),
    }
}

/// A slice of the VM is about 1 ms; what takes less than a hundredth of it is not worth reporting.
fn report(env: Env<'_>, spent: Duration) {
    let hundredths = spent.as_micros() / 10;
    if hundredths > 0 {
        rustler::schedule::consume_timeslice(env, i32::try_from(hundredths.min(100)).unwrap_or(100));
    }
}

fn not_owner(env: Env<'_>) -> Term<'_> {
    let message = "a call can be driven by the process that started it, and by no other";
    (atoms::error(), atoms::not_owner(), message, Term::map_new(env)).encode(env)
}

fn not_deployed(env: Env<'_>) -> Term<'_> {
    (atoms::error(), atoms::not_deployed(), "no function of that name is deployed", Term::map_new(env)).encode(env)
}

fn over(env: Env<'_>) -> Term<'_> {
    (atoms::error(), atoms::internal(), "the call is over already", Term::map_new(env)).encode(env)
}
