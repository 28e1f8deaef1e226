//! Requests of the HTTP edge. Calls are driven where they arrive for their first slice; those that are not over then,
//! and all other requests, become messages to Elixir processes, whose answers come back through NIFs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_core::{CallError, Request, Runtime, Step, Task};
use tidepool_http::{Answer, Backend, ContentType, Deploy, Later, Responder, Response, Route};

use crate::decode::{List, Short};
use crate::{atoms, call, encode, json};

/// One request on its way through Elixir.
pub(crate) struct ResponderHandle {
    /// The way to answer it. Dropped unanswered, the client is told so.
    responder: Mutex<Option<Responder>>,
    /// What its first slice left to do, for the process that takes it.
    begun: Mutex<Option<Begun>>,
}

#[rustler::resource_impl]
impl Resource for ResponderHandle {}

impl ResponderHandle {
    fn take_responder(&self) -> Option<Responder> {
        self.responder.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn take_begun(&self) -> Option<Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A call that was not answered where it arrived. Nobody owns it until a process takes it.
pub(crate) enum Begun {
    /// It ended with an error, which is for Elixir to render.
    Failed(CallError),
    /// It goes on.
    Unfinished {
        /// The call.
        task: Task,
        /// What it needs next.
        step: Step,
        /// When its first slice ended.
        since: Instant,
    },
}

/// Answers what is answered in one slice, and hands the rest to Elixir processes, the same one for all messages of a
/// request.
pub(crate) struct Dispatchers {
    runtime: Arc<Runtime>,
    pids: Vec<LocalPid>,
}

impl Dispatchers {
    pub(crate) fn new(runtime: Arc<Runtime>, pids: Vec<LocalPid>) -> Self {
        Dispatchers { runtime, pids }
    }

    /// Drives a call for its first slice. `None`: it is not callable here, likely to be too long, or somebody wants to be
    /// told of it, which only a process does.
    fn begin(&self, name: &str, operation: Option<&str>, payload: &[u8]) -> Option<Result<Vec<u8>, Begun>> {
        if self.runtime.is_observed() {
            return None;
        }
        let start = |published: &tidepool_core::Published| {
            let function = &published.function;
            let operation = operation.map_or(&*published.operation, str::as_bytes).to_vec();
            let request = Request { operation, payload: payload.to_vec(), depth: 1, timeout: Duration::MAX };
            function.is_brief().then(|| function.start(request))
        };
        let mut task = match self.runtime.directory().with(name, start).flatten()? {
            Ok(task) => task,
            Err(error) => return Some(Err(Begun::Failed(error))),
        };
        Some(match task.drive_in_passing() {
            Step::Done(outcome) => outcome.map_err(Begun::Failed),
            step => Err(Begun::Unfinished { task, step, since: Instant::now() }),
        })
    }

    fn hand_over(&self, later: Later<'_>, begun: Option<Begun>, route: impl FnOnce(Env<'_>) -> Term<'_>) -> Answer {
        let (responder, answer) = later.responder();
        let id = responder.id();
        let handle = ResponderHandle { responder: Mutex::new(Some(responder)), begun: Mutex::new(begun) };
        let handle = ResourceArc::new(handle);
        self.send(id, |env| (atoms::tidepool_http(), id, handle, route(env)).encode(env));
        answer
    }

    fn send(&self, id: u64, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let count = u64::try_from(self.pids.len()).unwrap_or(1).max(1);
        let turn = usize::try_from(id % count).unwrap_or(0);
        if let Some(pid) = self.pids.get(turn) {
            // Sent to a dead process the responder is dropped with the message, which answers the client.
            let _ = OwnedEnv::new().send_and_clear(pid, message);
        }
    }
}

impl Backend for Dispatchers {
    fn request(&self, route: Route, later: Later<'_>) -> Answer {
        let begun = match &route {
            Route::Call { function, operation, payload } => self.begin(function, operation.as_deref(), payload),
            _ => None,
        };
        match (begun, route) {
            (Some(Ok(reply)), _) => Answer::Now(Response::reply(reply)),
            (Some(Err(begun)), Route::Call { function, .. }) => {
                self.hand_over(later, Some(begun), |env| (atoms::begun(), function).encode(env))
            }
            (_, route) => self.hand_over(later, None, |env| encode_route(env, route)),
        }
    }

    fn hangup(&self, id: u64) {
        self.send(id, |env| (atoms::tidepool_hangup(), id).encode(env));
    }
}

/// Makes the calling process the owner of a call whose first slice was driven where it arrived. Returns what the call
/// needs next, as `call` does.
#[rustler::nif]
fn http_take<'a>(env: Env<'a>, responder: ResourceArc<ResponderHandle>) -> Term<'a> {
    match responder.take_begun() {
        Some(Begun::Failed(error)) => encode::call_error(env, &error),
        Some(Begun::Unfinished { task, step, since }) => call::take_over(env, task, step, since.elapsed()),
        None => call::over(env),
    }
}

/// Ends a request that nobody serves any more, a call that no process has taken with it.
#[rustler::nif]
fn http_abandon(responder: ResourceArc<ResponderHandle>) -> Atom {
    drop(responder.take_begun());
    drop(responder.take_responder());
    atoms::ok()
}

/// Answers a request: `type` is `:json`, `:text`, `:bytes`, `:openmetrics`, or `:reply` for `:text` when the body is
/// UTF-8 and `:bytes` otherwise. A second answer is ignored.
#[rustler::nif]
fn http_answer<'a>(
    responder: ResourceArc<ResponderHandle>,
    status: Short,
    content_type: Atom,
    headers: List<(String, String)>,
    body: Binary<'a>,
) -> Atom {
    if let Some(responder) = responder.take_responder() {
        let content_type = match content_type {
            kind if kind == atoms::reply() => ContentType::of_reply(body.as_slice()),
            kind if kind == atoms::json() => ContentType::Json,
            kind if kind == atoms::text() => ContentType::Text,
            kind if kind == atoms::openmetrics() => {
                ContentType::Other("application/openmetrics-text; version=1.0.0; charset=utf-8".into())
            }
            _ => ContentType::Bytes,
        };
        let body = Bytes::copy_from_slice(body.as_slice());
        responder.answer(Response { status: status.0, content_type, headers: headers.0, body });
    }
    atoms::ok()
}

fn encode_route(env: Env<'_>, route: Route) -> Term<'_> {
    match route {
        Route::Deploy(form) => (atoms::deploy(), deploy(env, form)).encode(env),
        Route::Call { function, operation, payload } => {
            (atoms::call(), function, operation, encode::copy(env, &payload)).encode(env)
        }
        Route::List => atoms::list().encode(env),
        Route::Show { function } => (atoms::show(), function).encode(env),
        Route::Remove { function } => (atoms::remove(), function).encode(env),
        Route::Cluster => atoms::cluster().encode(env),
        Route::Health => atoms::health().encode(env),
        Route::Metrics => atoms::metrics().encode(env),
    }
}

fn deploy(env: Env<'_>, form: Deploy) -> Term<'_> {
    encode::map(
        env,
        vec![
            (atoms::wasm(), encode::copy(env, &form.wasm)),
            (atoms::file_name(), form.file_name.encode(env)),
            (atoms::name(), form.name.encode(env)),
            (atoms::operation(), form.operation.encode(env)),
            (atoms::instances(), form.instances.encode(env)),
            (atoms::engine(), form.engine.encode(env)),
            (atoms::snapshot(), form.snapshot.encode(env)),
            (atoms::limits(), form.limits.as_ref().map(|limits| json::term(env, limits)).encode(env)),
            (atoms::query(), form.query.encode(env)),
        ],
    )
}
