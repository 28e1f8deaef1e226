//! Calls: tasks of the core, driven by the process that made them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustler::{Atom, Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{Cancel, Request, Step, Task};

use crate::deploy::FunctionHandle;
use crate::wake::Waker;
use crate::{atoms, decode, encode};

/// A call that did not end in its first slice. One process owns it; when that dies the call ends.
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
impl Resource for TaskHandle {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        // The term may live on somewhere else, in a message or a table; the guest does not.
        drop(self.call().take());
    }
}

impl TaskHandle {
    fn call(&self) -> MutexGuard<'_, Option<Call>> {
        // A panic while driving is caught in the core, so the lock is not poisoned by guests.
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a call and drives it for its first slice.
#[rustler::nif]
fn start<'a>(
    env: Env<'a>,
    function: ResourceArc<FunctionHandle>,
    operation: Binary<'a>,
    payload: Binary<'a>,
    depth: u32,
    timeout_ms: u64,
) -> Term<'a> {
    let request = Request {
        operation: operation.as_slice().to_vec(),
        payload: payload.as_slice().to_vec(),
        depth,
        timeout: decode::millis(timeout_ms),
    };
    match function.0.start(request) {
        Ok(task) => first_slice(env, task),
        Err(error) => encode::call_error(env, &error),
    }
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
    let handle = ResourceArc::new(TaskHandle { owner, call: Mutex::new(Some(Call { task, waker })) });
    env.monitor(&handle, &owner);
    unfinished(env, handle.encode(env), step, id)
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
    drop(slot);
    unfinished(env, handle.encode(env), step, id)
}

/// Drives `task` for a slice and reports to the VM how much of the process's own slice that took.
fn drive(env: Env<'_>, task: &mut Task, waker: &mut Option<Arc<Waker>>, owner: LocalPid) -> Step {
    let began = Instant::now();
    let io = task.io().clone();
    let step = task.drive(|| {
        let new = Waker::new(owner, io);
        *waker = Some(Arc::clone(&new));
        std::task::Waker::from(new)
    });
    report(env, began.elapsed());
    step
}

fn unfinished<'a>(env: Env<'a>, task: Term<'a>, step: Step, id: u64) -> Term<'a> {
    match step {
        Step::Done(outcome) => encode::outcome(env, outcome),
        Step::Host(request) => encode::host_request(env, task, request),
        Step::Yield => (atoms::r#yield(), task).encode(env),
        Step::Wait => (atoms::wait(), task, id).encode(env),
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

fn over(env: Env<'_>) -> Term<'_> {
    (atoms::error(), atoms::internal(), "the call is over already", Term::map_new(env)).encode(env)
}
