//! Calls: tasks of the core, driven by the process that made them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use tidepool_core::exchange::{Exchange, Refusal};
use tidepool_core::{
    CallError, Cancel, ExchangeCall, HostReply, HostRequest, Payload, ProcessRef, ProcessRequest, Request, ShortName,
    Step, Task, Usage,
};
use tidepool_errors::Reason;
use tidepool_http::TraceParent;

use crate::function::deploy::FunctionHandle;
use crate::function::request;
use crate::function::turn::{Call, Seat, drive};
use crate::node::handle::Node;
use crate::node::recent::LastLineHandle;
use crate::terms::message::message;
use crate::terms::{atoms, decode, encode, values};

/// A request of HTTP that a handler is to have.
pub(crate) struct ExchangeHandle(pub(crate) Exchange);

#[rustler::resource_impl]
impl Resource for ExchangeHandle {}

/// A call that did not end in its first slice. One process owns it, and its term never leaves that process: when the
/// process dies the VM frees its terms, and the guest is gone with this one.
///
/// (A monitor would hold for terms that escape, too. But it costs the owner a signal for each call, several times the
/// call itself, and resources that are made and freed by the million with monitors on them abort OTP 25 in
/// `ethr_mutex_lock`.)
pub(crate) struct TaskHandle {
    owner: LocalPid,
    call: Place,
    /// An observed call's.
    account: Option<Box<Account>>,
}

/// What others want to know of a call.
struct Account {
    /// What it has used, once it is over.
    usage: OnceLock<Usage>,
    /// Where its guest's last line goes after each slice.
    last_line: Option<ResourceArc<LastLineHandle>>,
}

/// Where a call lies: with its driver alone, which costs no memory of its own, or where others find it.
#[expect(clippy::large_enum_variant, reason = "a box for each call is what it saves")]
enum Place {
    Own(Seat),
    /// A process: whoever has woken it may have it for a moment, see [`crate::function::turn`].
    Shared(Arc<Seat>),
}

#[rustler::resource_impl]
impl Resource for TaskHandle {}

impl TaskHandle {
    fn new(owner: LocalPid, call: Call) -> Self {
        let waker = call.waker.as_ref().filter(|_| call.task.is_process()).cloned();
        let seat = Mutex::new(Some(call));
        let call = match waker {
            None => Place::Own(seat),
            Some(waker) => {
                let seat = Arc::new(seat);
                let weak = Arc::downgrade(&seat);
                waker.take_seat(weak);
                Place::Shared(seat)
            }
        };
        TaskHandle { owner, call, account: None }
    }

    fn over(&self, task: &Task) {
        if let Some(account) = &self.account {
            // It is over once.
            let _ = account.usage.set(task.usage());
        }
    }

    fn note_line(&self, task: &Task) {
        if let Some(last_line) = self.account.as_ref().and_then(|account| account.last_line.as_ref()) {
            last_line.note(task);
        }
    }

    fn call(&self) -> MutexGuard<'_, Option<Call>> {
        let seat = match &self.call {
            Place::Own(seat) => seat,
            Place::Shared(seat) => seat,
        };
        // A panic while driving is caught in the core, so the lock is not poisoned by guests.
        seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls a published function and drives the call for its first slice. An `operation` of `nil` is the one it was
/// published with, a `timeout_ms` of `:infinity` is the function's own limit.
/// The payload is a binary, or the arguments of a typed export.
///
/// Terms are borrowed: counting another user of the node would make all cores write to one place.
#[rustler::nif]
fn call<'a>(
    env: Env<'a>,
    node: &'a Node,
    name: Binary<'a>,
    operation: Option<Binary<'a>>,
    payload: Term<'a>,
    depth: u32,
    timeout_ms: Term<'a>,
) -> NifResult<Term<'a>> {
    let timeout = decode::timeout(timeout_ms)?;
    Ok(match start(node, name, operation, payload, depth, timeout) {
        Some(Ok(task)) => first_slice(env, task),
        Some(Err(error)) => encode::call_error(env, &error),
        None => not_deployed(env),
    })
}

/// Like `call`, with an account: `{task, step}`, where `usage` of the task has the account when the call is over, and `last_line`, unless
/// it is `nil`, what the guest printed last. Without a call there is no task.
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "they are those of `call`, and two")]
fn call_observed<'a>(
    env: Env<'a>,
    node: &'a Node,
    name: Binary<'a>,
    operation: Option<Binary<'a>>,
    payload: Term<'a>,
    depth: u32,
    timeout_ms: Term<'a>,
    last_line: Option<ResourceArc<LastLineHandle>>,
    traceparent: Option<&str>,
) -> NifResult<(Option<Term<'a>>, Term<'a>)> {
    let timeout = decode::timeout(timeout_ms)?;
    Ok(match start(node, name, operation, payload, depth, timeout) {
        Some(Ok(task)) => {
            if let Some(traceparent) = traceparent {
                task.set_trace(&traceparent);
            }
            let handle = TaskHandle::new(env.pid(), Call::new(task));
            let account = Some(Box::new(Account { usage: OnceLock::new(), last_line }));
            let handle = ResourceArc::new(TaskHandle { account, ..handle });
            let term = handle.encode(env);
            (Some(term), next_slice(env, term, &handle, None))
        }
        Some(Err(error)) => (None, encode::call_error(env, &error)),
        None => (None, not_deployed(env)),
    })
}

/// `{cpu_ns, queue_ns, memory_bytes}` of an observed call that is over; zeros before, and for other calls.
#[rustler::nif]
fn usage(task: &TaskHandle) -> (u64, u64, usize) {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match task.account.as_ref().and_then(|account| account.usage.get()) {
        Some(used) => (nanoseconds(used.cpu_time), nanoseconds(used.queue_time), used.memory_bytes),
        None => (0, 0, 0),
    }
}

/// The call of a published function; `None` when there is none of that name.
fn start(
    node: &Node,
    name: Binary<'_>,
    operation: Option<Binary<'_>>,
    payload: Term<'_>,
    depth: u32,
    timeout: Duration,
) -> Option<Result<Task, CallError>> {
    let name = std::str::from_utf8(name.as_slice()).ok()?;
    node.runtime.directory().with(name, |published| {
        let payload = self::payload(payload, |bytes| published.function.admit(bytes))?;
        let operation = operation.map_or(&*published.operation, |operation| operation.as_slice());
        published.function.start(Request { operation: ShortName::from_slice(operation), payload, depth, timeout })
    })
}

fn no_payload() -> CallError {
    CallError::Arguments { path: String::new(), message: "a reference is no payload".into() }
}

/// A payload: a binary, which is `admit`ted before it is copied or kept, arguments of a typed export, or a request of HTTP.
pub(crate) fn payload(
    payload: Term<'_>,
    admit: impl FnOnce(usize) -> Result<(), CallError>,
) -> Result<Payload, CallError> {
    match Binary::from_term(payload) {
        Ok(bytes) => {
            admit(bytes.len())?;
            Ok(message(bytes).into())
        }
        Err(_) if payload.is_ref() => {
            let exchange = payload.decode::<ResourceArc<ExchangeHandle>>();
            exchange.map(|exchange| Payload::Exchange(exchange.0.clone())).map_err(|_| no_payload())
        }
        Err(_) => values::arguments(payload).map(|value| Payload::Value(Arc::new(value))),
    }
}

/// Is there room for a function's code?
#[rustler::nif]
fn code_fits<'a>(env: Env<'a>, node: &Node, function: &'a FunctionHandle) -> Term<'a> {
    match node.runtime.code_fits(&function.0) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}

/// Starts a trial: an instance is made and dropped again.
#[rustler::nif]
fn start_trial<'a>(env: Env<'a>, function: &'a FunctionHandle) -> Term<'a> {
    first_slice(env, function.0.start_trial())
}

/// Drives a call that yielded or was woken.
#[rustler::nif]
fn resume<'a>(env: Env<'a>, task: Term<'a>) -> NifResult<Term<'a>> {
    Ok(next_slice(env, task, task.decode()?, None))
}

/// Answers the host call that the task waits with, and drives it.
#[rustler::nif]
fn answer<'a>(env: Env<'a>, task: Term<'a>, reply: Term<'a>) -> NifResult<Term<'a>> {
    let reply = decode::host_reply(reply)?;
    Ok(next_slice(env, task, task.decode()?, Some(reply)))
}

/// The same for a call of an import, with `{:ok, value}` or `{:error, bytes}`; a value that no guest can have is an error, too.
#[rustler::nif]
fn answer_value<'a>(env: Env<'a>, task: Term<'a>, reply: Term<'a>) -> NifResult<Term<'a>> {
    let (tag, term): (Atom, Term<'_>) = reply.decode()?;
    let reply = if tag == atoms::ok() {
        // What comes as bytes says why there is no value.
        values::value(term).map_err(|error| Ok(bytes::Bytes::from(error.to_string())))
    } else {
        Err(Err(message(Binary::from_term(term)?)))
    };
    let handle: ResourceArc<TaskHandle> = task.decode()?;
    let reply = match reply {
        Ok(value) => {
            if let Err(refusal) = with_task(env, &handle, |task| task.answer_value(value)) {
                return Ok(refusal);
            }
            None
        }
        Err(bytes) => Some(bytes),
    };
    Ok(next_slice(env, task, &handle, reply))
}

/// Ends a call now. `why` is `:timeout` or `:aborted`; returns the error, and whether a wake message was sent that nobody
/// has received.
#[rustler::nif]
fn cancel<'a>(env: Env<'a>, task: &'a TaskHandle, why: Atom) -> (Term<'a>, bool) {
    let why = if why == atoms::timeout() { Cancel::Timeout } else { Cancel::Aborted };
    if task.owner != env.pid() {
        return (not_owner(env), false);
    }
    let Some(mut call) = task.call().take() else { return (over(env), false) };
    let error = call.task.cancel(why);
    task.over(&call.task);
    let sent = call.waker.take().is_some_and(|waker| waker.disarm());
    (encode::call_error(env, &error), sent)
}

/// Makes the calling process the owner of a call whose first slice was driven elsewhere, and ended with `step` so long
/// ago.
pub(crate) fn take_over(env: Env<'_>, task: Task, step: Step, ago: Duration) -> Term<'_> {
    match step {
        // A call that waits is driven at once, to meet the waker of its owner.
        Step::Yield | Step::Wait => first_slice(env, task),
        Step::Done(_) | Step::Host(_) => own(env, Call::new(task), step, ago),
    }
}

pub(crate) fn first_slice(env: Env<'_>, task: Task) -> Term<'_> {
    let mut call = Call::new(task);
    let step = drive(env, &mut call, env.pid());
    own(env, call, step, Duration::ZERO)
}

/// A task as a term of its new owner, unless it is over. It has come to this step so long ago.
fn own(env: Env<'_>, mut call: Call, step: Step, ago: Duration) -> Term<'_> {
    if let Step::Done(outcome) = step {
        return encode::outcome(env, outcome);
    }
    let (id, remaining) = call.stop(env, &step);
    let remaining = remaining.saturating_sub(ago);
    let (version, child) = (call.task.version(), child(&call.task, &step));
    let handle = ResourceArc::new(TaskHandle::new(env.pid(), call));
    unfinished(env, handle.encode(env), step, id, remaining, (version, child))
}

/// The process that a step wants started.
fn child(task: &Task, step: &Step) -> Option<ProcessRef> {
    match step {
        Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => task.other(*id),
        _ => None,
    }
}

/// Runs `found` with the caller's own task; what to answer, when it is another's, or over.
pub(crate) fn with_task<'a, T>(
    env: Env<'a>,
    handle: &TaskHandle,
    found: impl FnOnce(&Task) -> T,
) -> Result<T, Term<'a>> {
    if handle.owner != env.pid() {
        return Err(not_owner(env));
    }
    handle.call().as_ref().map(|call| found(&call.task)).ok_or_else(|| over(env))
}

/// The same with all that its driver has for it.
pub(crate) fn with_call<'a, T>(
    env: Env<'a>,
    handle: &TaskHandle,
    found: impl FnOnce(&mut Call) -> T,
) -> Result<T, Term<'a>> {
    if handle.owner != env.pid() {
        return Err(not_owner(env));
    }
    handle.call().as_mut().map(found).ok_or_else(|| over(env))
}

/// Drives a task for a slice, with the `reply` to the host call that it waits with; `:ended` of a process whose program has ended, which is
/// about to be killed: thousands that were linked or watched each other would run for each other's deaths.
pub(crate) fn next_slice<'a>(env: Env<'a>, term: Term<'a>, handle: &TaskHandle, reply: Option<HostReply>) -> Term<'a> {
    if handle.owner != env.pid() {
        return not_owner(env);
    }
    let mut slot = handle.call();
    let Some(call) = slot.as_mut() else { return over(env) };
    if call.task.program_has_ended() {
        return atoms::ended().encode(env);
    }
    if let Some(reply) = reply {
        call.task.answer(reply);
    }
    if !call.task.is_process()
        && let Some(waker) = call.waker.take()
    {
        waker.disarm();
    }
    let step = drive(env, call, handle.owner);
    if let Step::Done(outcome) = step {
        handle.over(&call.task);
        *slot = None;
        return encode::outcome(env, outcome);
    }
    handle.note_line(&call.task);
    let (id, remaining) = call.stop(env, &step);
    let (version, child) = (call.task.version(), child(&call.task, &step));
    drop(slot);
    unfinished(env, term, step, id, remaining, (version, child))
}

fn unfinished<'a>(
    env: Env<'a>,
    task: Term<'a>,
    step: Step,
    id: u64,
    remaining: Duration,
    (version, child): (u64, Option<ProcessRef>),
) -> Term<'a> {
    // Rounded up, so that a wait of this length ends after the deadline.
    let remaining_us = u64::try_from(remaining.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
    match step {
        Step::Done(outcome) => encode::outcome(env, outcome),
        Step::Host(asked) => {
            let asked = match asked {
                HostRequest::Wapc(call) => encode::host_call(env, call),
                HostRequest::Import(call) => encode::import_call(env, &call),
                HostRequest::Exchange(call) => exchange_call(env, call),
                HostRequest::Process(asked) => request::request(env, asked, child),
                HostRequest::File(asked) => request::file(env, asked),
            };
            (atoms::host(), task, asked, remaining_us, version).encode(env)
        }
        Step::Yield => (atoms::r#yield(), task).encode(env),
        Step::Wait => (atoms::wait(), task, id, remaining_us).encode(env),
    }
}

/// `{:exchange, binding, namespace, function, [exchange, operation]}`: as the call of an import that has these arguments.
fn exchange_call(env: Env<'_>, call: ExchangeCall) -> Term<'_> {
    let [binding, namespace] = ExchangeCall::TARGET;
    let arguments = [ResourceArc::new(ExchangeHandle(call.exchange)).encode(env), call.operation.encode(env)];
    (atoms::exchange(), binding, namespace, call.function, arguments.as_slice()).encode(env)
}

/// Has a request say in its header `traceparent` what its handler is part of. A text that is none changes nothing.
#[rustler::nif]
fn exchange_trace(exchange: &ExchangeHandle, traceparent: &str) -> Atom {
    if let Some(parent) = TraceParent::parse(traceparent.as_bytes()) {
        exchange.0.change_headers(|headers| parent.put(headers));
    }
    atoms::ok()
}

/// Tells a guest why another function gives it no response: `:missing`, `:unavailable`, `:denied`, `:too_deep`, `:full`, `:late`, or
/// the text of what went wrong. It changes nothing where there is one, or the guest has left.
#[rustler::nif]
fn exchange_refuse(exchange: &ExchangeHandle, why: Term<'_>) -> NifResult<Atom> {
    let why = match why.decode::<Atom>() {
        Ok(why) if why == atoms::missing() => Refusal::Missing,
        Ok(why) if why == atoms::unavailable() => Refusal::Unavailable,
        Ok(why) if why == atoms::denied() => Refusal::Denied,
        Ok(why) if why == atoms::too_deep() => Refusal::TooDeep,
        Ok(why) if why == atoms::full() => Refusal::Full,
        Ok(why) if why == atoms::late() => Refusal::Late,
        Ok(_other) => return Err(rustler::Error::BadArg),
        Err(_no_atom) => Refusal::Failed(why.decode()?),
    };
    exchange.0.refuse(why);
    Ok(atoms::ok())
}

fn not_owner(env: Env<'_>) -> Term<'_> {
    let message = "a call can be driven by the process that started it, and by no other";
    (atoms::error(), atoms::not_owner(), message, Term::map_new(env)).encode(env)
}

pub(crate) fn not_deployed(env: Env<'_>) -> Term<'_> {
    encode::refusal(env, Reason::NotDeployed, "no function of that name is deployed")
}

fn over(env: Env<'_>) -> Term<'_> {
    encode::refusal(env, Reason::Internal, "the call is over already")
}
