//! Requests of the HTTP edge. Calls are driven where they arrive for their first slice; those that are not over then,
//! and all other requests, wait in lanes for Elixir processes to take them, whose answers come back through NIFs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::SegQueue;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_core::{CallError, Request, Runtime, Step, Task};
use tidepool_http::{
    Answer, Backend, Caller, Deploy, Later, Refused, RequestBody, ResourceRequest, Responder, Response, Route,
};
use tokio::runtime::Handle;

use crate::decode::{List, Short};
use crate::stream::{Kind, ResponderHandle};
use crate::{atoms, call, encode, stream};

/// Requests on their way to processes, and the dispatcher that starts one for each.
///
/// Nothing of a request is in a dispatcher's messages, whose terms live on in its heap until it collects garbage. Bounded
/// by the edge's cap on requests in flight.
pub(crate) struct Lane {
    dispatcher: LocalPid,
    waiting: SegQueue<Waiting>,
    /// Those that the dispatcher has not been told of. The first of them sends it a message.
    news: AtomicUsize,
    resources: Arc<Resources>,
}

/// What requests for resources take.
pub(crate) struct Resources {
    /// Whose each row of the edge's table is: a module.
    pub(crate) handlers: Vec<Atom>,
    /// Sends messages for schedulers.
    pub(crate) io: Handle,
}

#[rustler::resource_impl]
impl Resource for Lane {}

/// A request that no process has taken yet.
struct Waiting {
    responder: Responder,
    stage: Arc<Mutex<Stage>>,
    /// What is asked for; of a call that has begun its name and operation.
    asked: Asked,
}

enum Asked {
    Begun(String, Option<String>),
    Route(Box<Route>),
}

/// How far a request has got, for the edge, which sees its client hang up.
enum Stage {
    /// It waits, with what its first slice left to do.
    Waiting(Option<Box<Begun>>),
    /// This process serves it.
    Taken(LocalPid),
    /// Nobody waits for the answer.
    HungUp,
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

/// Answers what is answered in one slice, and hands the rest to Elixir processes.
pub(crate) struct Dispatchers {
    runtime: Arc<Runtime>,
    lanes: Vec<ResourceArc<Lane>>,
    turn: AtomicUsize,
}

impl Dispatchers {
    pub(crate) fn new(runtime: Arc<Runtime>, pids: Vec<LocalPid>, resources: Resources) -> Self {
        let resources = Arc::new(resources);
        let lane = |dispatcher| {
            let (waiting, news, resources) = (SegQueue::new(), AtomicUsize::new(0), Arc::clone(&resources));
            ResourceArc::new(Lane { dispatcher, waiting, news, resources })
        };
        Dispatchers { runtime, lanes: pids.into_iter().map(lane).collect(), turn: AtomicUsize::new(0) }
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
            function.suits_inline().then(|| {
                // Before the payload is copied.
                function.admit(payload.len())?;
                function.start(Request { operation, payload: payload.to_vec(), depth: 1, timeout: Duration::MAX })
            })
        };
        let mut task = match self.runtime.directory().with(name, start).flatten()? {
            Ok(task) => task,
            Err(error) => return Some(Err(Begun::Failed(error))),
        };
        Some(match task.drive_inline() {
            Step::Done(outcome) => outcome.map_err(Begun::Failed),
            step => Err(Begun::Unfinished { task, step, since: Instant::now() }),
        })
    }

    /// The refusal of a payload that was too large to be read; `None` when its function has gone meanwhile.
    fn oversized(&self, name: &str) -> Option<Result<Vec<u8>, Begun>> {
        let refused = |published: &tidepool_core::Published| published.function.admit(usize::MAX).err();
        let error = self.runtime.directory().with(name, refused).flatten()?;
        Some(Err(Begun::Failed(error)))
    }

    fn hand_over(&self, later: Later<'_>, begun: Option<Begun>, asked: Asked) -> Answer {
        let stage = Arc::new(Mutex::new(Stage::Waiting(begun.map(Box::new))));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.lanes.len());
        let lane = turn.and_then(|turn| self.lanes.get(turn));
        let (responder, answer) = later.responder({
            let (stage, dispatcher) = (Arc::clone(&stage), lane.map(|lane| lane.dispatcher));
            move || hang_up(&stage, dispatcher)
        });
        // Without a lane the responder is dropped here, which answers the client.
        if let Some(lane) = lane {
            lane.waiting.push(Waiting { responder, stage, asked });
            if lane.news.fetch_add(1, Ordering::AcqRel) == 0 {
                // When the dispatcher has died its listener is restarted, and cuts what waits here.
                let message = |env| (atoms::tidepool_http(), lane).encode(env);
                let _ = OwnedEnv::new().send_and_clear(&lane.dispatcher, message);
            }
        }
        answer
    }
}

/// Makes the next stage of the one before.
fn advance<R>(stage: &Mutex<Stage>, next: impl FnOnce(Stage) -> (Stage, R)) -> R {
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let (after, result) = next(std::mem::replace(&mut *stage, Stage::HungUp));
    *stage = after;
    result
}

/// Ends a request that nobody waits for: a call that no process has taken here and now, a process by its dispatcher.
fn hang_up(stage: &Mutex<Stage>, dispatcher: Option<LocalPid>) {
    let before = advance(stage, |before| (Stage::HungUp, before));
    if let (Stage::Taken(process), Some(dispatcher)) = (before, dispatcher) {
        let _ = OwnedEnv::new().send_and_clear(&dispatcher, |env| (atoms::tidepool_hangup(), process).encode(env));
    }
}

impl Backend for Dispatchers {
    fn payload_limit(&self, function: &str) -> Option<u64> {
        self.runtime.directory().with(function, |published| published.function.payload_limit())
    }

    fn request(&self, route: Route, later: Later<'_>) -> Answer {
        let begun = match &route {
            Route::Call { function, operation, payload } => self.begin(function, operation.as_deref(), payload),
            Route::Oversized { function } => self.oversized(function),
            _ => None,
        };
        match (begun, route) {
            (Some(Ok(reply)), _) => Answer::Now(Response::reply(reply)),
            (Some(Err(begun)), Route::Call { function, operation, .. }) => {
                self.hand_over(later, Some(begun), Asked::Begun(function, operation))
            }
            (Some(Err(begun)), Route::Oversized { function }) => {
                self.hand_over(later, Some(begun), Asked::Begun(function, None))
            }
            (_, route) => self.hand_over(later, None, Asked::Route(Box::new(route))),
        }
    }

    /// Any dispatcher logs it: `{:tidepool_refused, request, reason, peer, left_out}`.
    fn refused(&self, refused: Refused) {
        if let Some(lane) = self.lanes.first() {
            let Refused { request, reason, peer, left_out } = refused;
            let message =
                |env| (atoms::tidepool_refused(), request, reason.name(), peer.to_string(), left_out).encode(env);
            let _ = OwnedEnv::new().send_and_clear(&lane.dispatcher, message);
        }
    }
}

/// How many requests have come to a lane since this was asked last: so many processes have to take one each.
#[rustler::nif]
fn http_news(lane: &Lane) -> usize {
    lane.news.swap(0, Ordering::AcqRel)
}

/// Makes the calling process the one that serves the next request of a lane: `{responder, route, step}`, with what a call
/// needs next whose first slice was driven where it arrived, as `call` has it, and `nil` for others. `nil` when there is
/// none that anybody waits for.
#[rustler::nif]
fn http_take<'a>(env: Env<'a>, lane: &'a Lane) -> Option<(ResourceArc<ResponderHandle>, Term<'a>, Term<'a>)> {
    loop {
        let Waiting { responder, stage, asked } = lane.waiting.pop()?;
        let begun = advance(&stage, |before| match before {
            Stage::Waiting(begun) => (Stage::Taken(env.pid()), Some(begun)),
            Stage::Taken(_) | Stage::HungUp => (before, None),
        });
        let Some(begun) = begun else { continue };
        let (route, io) = match asked {
            Asked::Begun(function, operation) => ((atoms::begun(), function, operation).encode(env), None),
            Asked::Route(route) => {
                let io = matches!(*route, Route::Resource(_)).then(|| lane.resources.io.clone());
                (encode_route(env, *route, &lane.resources), io)
            }
        };
        let step = match begun.map(|begun| *begun) {
            Some(Begun::Failed(error)) => encode::call_error(env, &error),
            Some(Begun::Unfinished { task, step, since }) => call::take_over(env, task, step, since.elapsed()),
            None => atoms::nil().encode(env),
        };
        return Some((ResourceArc::new(ResponderHandle { responder: Mutex::new(Some(responder)), io }), route, step));
    }
}

/// Answers a request. A second answer is ignored.
#[rustler::nif]
fn http_answer<'a>(
    responder: &ResponderHandle,
    status: Short,
    content_type: Kind,
    headers: List<(String, String)>,
    body: Binary<'a>,
) -> Atom {
    let responder = responder.responder.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(responder) = responder {
        let content_type = content_type.of(body.as_slice());
        let body = Bytes::copy_from_slice(body.as_slice());
        responder.answer(Response { status: status.0, content_type, headers: headers.0, body });
    }
    atoms::ok()
}

fn encode_route<'a>(env: Env<'a>, route: Route, resources: &Resources) -> Term<'a> {
    match route {
        Route::Deploy(form, caller) => (atoms::deploy(), deploy(env, form), origin(caller)).encode(env),
        Route::Call { function, operation, payload } => {
            (atoms::call(), function, operation, encode::binary(env, payload)).encode(env)
        }
        // The function of an oversized call that comes here is gone, which is for Elixir to say.
        Route::Admit { function } | Route::Oversized { function } => (atoms::admit(), function).encode(env),
        Route::Health => atoms::health().encode(env),
        Route::Resource(request) => resource(env, *request, resources),
    }
}

/// `{:resource, module, request}`.
fn resource<'a>(env: Env<'a>, request: ResourceRequest, resources: &Resources) -> Term<'a> {
    let ResourceRequest { endpoint, method, segments, query, headers, body, caller } = request;
    let handler = resources.handlers.get(endpoint).copied().unwrap_or_else(atoms::nil);
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, encode::copy(env, &value))).collect();
    let body = match body {
        RequestBody::Nothing => atoms::nil().encode(env),
        RequestBody::Whole(bytes) => encode::binary(env, bytes),
        RequestBody::Pieces(reader) => stream::body(env, reader, &resources.io),
    };
    let request = vec![
        (atoms::method(), method.encode(env)),
        (atoms::path(), segments.encode(env)),
        (atoms::query(), query.encode(env)),
        (atoms::headers(), headers.encode(env)),
        (atoms::body(), body),
        (atoms::origin(), origin(caller).encode(env)),
    ];
    (atoms::resource(), handler, encode::map(env, request)).encode(env)
}

/// `{:token | :no_token, address}`.
fn origin(caller: Caller) -> (Atom, String) {
    (if caller.has_token { atoms::token() } else { atoms::no_token() }, caller.peer.to_string())
}

fn deploy(env: Env<'_>, form: Deploy) -> Term<'_> {
    encode::map(
        env,
        vec![
            (atoms::wasm(), encode::binary(env, form.wasm)),
            (atoms::file_name(), form.file_name.encode(env)),
            (atoms::fields(), form.fields.encode(env)),
            (atoms::query(), form.query.encode(env)),
        ],
    )
}
