//! Requests of the HTTP edge. A call is driven for its first slice on the thread that it arrived on. Calls that are not over
//! then, and all other requests, wait in queues until Elixir processes take them; their answers come back through NIFs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::SegQueue;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_core::exchange::Exchange;
use tidepool_core::{CallError, Payload, Reply, Request, Runtime, Step, Task, buffers};
use tidepool_http::{
    Answer, Backend, Caller, ContentType, Deferral, Deploy, ExchangeRequest, Refused, RequestBody, ResourceRequest,
    Response, Route, TraceParent,
};
use tokio::runtime::Handle;

use crate::edge::exchange::{self, Waiting};
use crate::edge::sampling::{self, Sampling, Traced};
use crate::edge::stream;
use crate::edge::stream::{Kind, ResponderHandle};
use crate::function::call::{self, ExchangeHandle};
use crate::terms::decode::{List, Short};
use crate::terms::message::message;
use crate::terms::{atoms, encode};

/// Requests on their way to processes, and the dispatcher that spawns one for each.
///
/// A dispatcher's messages have no terms of a request, since they live on in its heap until it collects garbage. The edge's
/// cap on requests in flight bounds the queue.
pub(crate) struct DispatchQueue {
    dispatcher: LocalPid,
    waiting: SegQueue<QueuedRequest>,
    /// Requests that the dispatcher has not been told of. The first of them sends it a message.
    unannounced: AtomicUsize,
    resources: Arc<Resources>,
}

/// What requests for resources need.
pub(crate) struct Resources {
    /// The module that serves each row of the edge's table.
    pub(crate) handlers: Vec<Atom>,
    /// Sends messages for schedulers.
    pub(crate) io: Handle,
}

#[rustler::resource_impl]
impl Resource for DispatchQueue {}

/// A request that no process has taken yet.
struct QueuedRequest {
    responder: Waiting,
    stage: Arc<Mutex<Stage>>,
    traced: Option<Traced>,
    kind: RequestKind,
}

enum RequestKind {
    /// A call that has begun: its function and operation.
    Begun(String, Option<String>),
    /// A request for a handler of HTTP that has not begun: its function, and what it is called.
    Exchange(String, String, Exchange),
    Route(Box<Route>),
}

impl RequestKind {
    fn is_health(&self) -> bool {
        matches!(self, RequestKind::Route(route) if matches!(**route, Route::Health))
    }
}

/// How far a request has got, for the edge, which sees its client hang up.
enum Stage {
    /// No process has taken it. This is what its first slice left to do.
    Queued(Option<Box<Begun>>),
    /// This process serves it.
    Taken(LocalPid),
    /// The client is gone.
    HungUp,
}

/// A call that was not answered in its first slice. It has no owner until a process takes it.
#[expect(clippy::large_enum_variant, reason = "it is in a box where it waits, and most go on")]
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
    /// That of requests for the node's health, where there is one.
    health: Option<ResourceArc<DispatchQueue>>,
    queues: Vec<ResourceArc<DispatchQueue>>,
    next: AtomicUsize,
    /// Where calls are traced.
    sampling: Option<Sampling>,
}

impl Dispatchers {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        pids: Vec<LocalPid>,
        resources: Resources,
        sampling: Option<Sampling>,
    ) -> Self {
        let resources = Arc::new(resources);
        let queue = |dispatcher| {
            let (waiting, unannounced, resources) = (SegQueue::new(), AtomicUsize::new(0), Arc::clone(&resources));
            ResourceArc::new(DispatchQueue { dispatcher, waiting, unannounced, resources })
        };
        let mut queues: Vec<_> = pids.into_iter().map(queue).collect();
        let health = (queues.len() > 1).then(|| queues.remove(0));
        Dispatchers { runtime, health, queues, next: AtomicUsize::new(0), sampling }
    }

    /// Drives a call for its first slice. `None` when the function is not deployed, when its first slice is likely to be too
    /// long, or when calls are observed, which only a process does: the payload is there still.
    fn begin(
        &self,
        name: &str,
        operation: Option<&str>,
        payload: &mut Bytes,
        trace: Option<TraceParent>,
    ) -> Option<Result<Response, Begun>> {
        if self.runtime.is_observed() {
            return None;
        }
        let start = |published: &tidepool_core::Published| {
            let function = &published.function;
            let operation = operation.map_or(&*published.operation, str::as_bytes).into();
            function.suits_inline().then(|| {
                let payload = std::mem::take(payload).into();
                let task = function.start(Request { operation, payload, depth: 1, timeout: Duration::MAX })?;
                Ok((task, function.is_typed()))
            })
        };
        let (mut task, is_typed) = match self.runtime.directory().with(name, start).flatten()? {
            Ok(begun) => begun,
            Err(error) => return Some(Err(Begun::Failed(error))),
        };
        if let Some(trace) = trace {
            task.set_trace(&trace);
        }
        Some(match task.drive_inline() {
            Step::Done(Ok(reply)) => Ok(response(reply, is_typed)),
            Step::Done(Err(error)) => Err(Begun::Failed(error)),
            step => Err(Begun::Unfinished { task, step, since: Instant::now() }),
        })
    }

    /// The refusal of a payload that was too large to be read; `None` when its function has gone meanwhile.
    fn oversized(&self, name: &str) -> Option<Result<Response, Begun>> {
        let refused = |published: &tidepool_core::Published| published.function.admit(usize::MAX).err();
        let error = self.runtime.directory().with(name, refused).flatten()?;
        Some(Err(Begun::Failed(error)))
    }

    fn hand_over(
        &self,
        deferral: Deferral<'_>,
        begun: Option<Begun>,
        traced: Option<Traced>,
        kind: RequestKind,
    ) -> Answer {
        let health = self.health.as_ref().filter(|_queue| kind.is_health());
        let queue = health.or_else(|| self.queue());
        let stage = Arc::new(Mutex::new(Stage::Queued(begun.map(Box::new))));
        let (responder, answer) = deferral.responder({
            let (stage, dispatcher) = (Arc::clone(&stage), queue.map(|queue| queue.dispatcher));
            move || hang_up(&stage, dispatcher)
        });
        let responder = Arc::new(Mutex::new(Some(responder)));
        Self::enqueue(queue, QueuedRequest { responder, stage, traced, kind });
        answer
    }

    /// Has a handler of HTTP have a request: for its first slice here, where it may.
    fn exchange(&self, mut request: ExchangeRequest, deferral: Deferral<'_>) -> Answer {
        let mut traced = self.sampling.map(|sampling| sampling.decide(request.trace));
        if let Some(traced) = &mut traced {
            traced.pass_on(&mut request);
        }
        let queue = self.queue();
        let stage = Arc::new(Mutex::new(Stage::Queued(None)));
        let (responder, answer) = deferral.responder({
            let (stage, dispatcher) = (Arc::clone(&stage), queue.map(|queue| queue.dispatcher));
            move || hang_up(&stage, dispatcher)
        });
        let responder = Arc::new(Mutex::new(Some(responder)));
        let function = request.function.clone();
        let (operation, exchange) = exchange::of(request, &responder);
        let is_seen = self.runtime.is_observed() || traced.is_some_and(|traced| traced.sampled);
        let trace = traced.and_then(|traced| traced.unrecorded());
        let begun = if is_seen { None } else { self.begin_exchange(&function, &operation, &exchange, trace) };
        let kind = match begun {
            Some(None) => return answer,
            Some(Some(begun)) => {
                advance(&stage, |_| (Stage::Queued(Some(Box::new(begun))), ()));
                RequestKind::Begun(function, Some(operation_text(&operation)))
            }
            None => RequestKind::Exchange(function, operation_text(&operation), exchange),
        };
        Self::enqueue(queue, QueuedRequest { responder, stage, traced, kind });
        answer
    }

    /// Drives a handler for its first slice: `Some(None)` when it has returned, `None` when that is for a process to do.
    fn begin_exchange(
        &self,
        name: &str,
        operation: &[u8],
        exchange: &Exchange,
        trace: Option<TraceParent>,
    ) -> Option<Option<Begun>> {
        let start = |published: &tidepool_core::Published| {
            let (operation, payload) = (operation.into(), Payload::Exchange(exchange.clone()));
            let request = Request { operation, payload, depth: 1, timeout: Duration::MAX };
            published.function.suits_inline().then(|| published.function.start(request))
        };
        let mut task = match self.runtime.directory().with(name, start).flatten()? {
            Ok(task) => task,
            Err(error) => return Some(Some(Begun::Failed(error))),
        };
        if let Some(trace) = trace {
            task.set_trace(&trace);
        }
        Some(match task.drive_inline() {
            Step::Done(Ok(_)) => None,
            Step::Done(Err(error)) => Some(Begun::Failed(error)),
            step => Some(Begun::Unfinished { task, step, since: Instant::now() }),
        })
    }

    fn queue(&self) -> Option<&ResourceArc<DispatchQueue>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.queues.len());
        index.and_then(|index| self.queues.get(index))
    }

    /// Without a queue the request is dropped, which answers the client.
    fn enqueue(queue: Option<&ResourceArc<DispatchQueue>>, request: QueuedRequest) {
        if let Some(queue) = queue {
            queue.waiting.push(request);
            if queue.unannounced.fetch_add(1, Ordering::AcqRel) == 0 {
                // When the dispatcher has died its listener is restarted, and cuts what waits here.
                let message = |env| (atoms::tidepool_http(), queue).encode(env);
                let _ = OwnedEnv::new().send_and_clear(&queue.dispatcher, message);
            }
        }
    }
}

fn operation_text(operation: &[u8]) -> String {
    String::from_utf8_lossy(operation).into_owned()
}

/// The answer that has a call's reply. That of a typed function is JSON, as its payload was.
fn response(reply: Reply, is_typed: bool) -> Response {
    let body = buffers::shared(reply.into_bytes());
    if is_typed { Response::new(200, ContentType::Json, body) } else { Response::reply(body) }
}

/// Makes the next stage of the one before.
fn advance<R>(stage: &Mutex<Stage>, next: impl FnOnce(Stage) -> (Stage, R)) -> R {
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let (after, result) = next(std::mem::replace(&mut *stage, Stage::HungUp));
    *stage = after;
    result
}

/// Ends a request whose client is gone: a call that no process has taken at once, a process by its dispatcher.
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

    fn handles_http(&self, function: &str) -> Option<bool> {
        self.runtime.directory().with(function, |published| published.function.handles_http())
    }

    fn site(&self, host: &str, path: &str) -> Option<String> {
        self.runtime.sites().find(host, path)
    }

    fn request(&self, mut route: Route, deferral: Deferral<'_>) -> Answer {
        if let Route::Exchange(request) = route {
            return self.exchange(*request, deferral);
        }
        let decide = |trace: &Option<_>| self.sampling.map(|sampling| sampling.decide(*trace));
        let traced = match &route {
            Route::Call { trace, .. } | Route::Deploy(Deploy { trace, .. }, _) => decide(trace),
            _ => None,
        };
        let begun = match &mut route {
            // What is recorded is so by a process.
            Route::Call { .. } if traced.is_some_and(|traced| traced.sampled) => None,
            Route::Call { function, operation, payload, .. } => {
                let trace = traced.and_then(|traced| traced.unrecorded());
                self.begin(function, operation.as_deref(), payload, trace)
            }
            Route::Oversized { function } => self.oversized(function),
            _ => None,
        };
        match (begun, route) {
            (Some(Ok(response)), _) => Answer::Now(response),
            (Some(Err(begun)), Route::Call { function, operation, .. }) => {
                self.hand_over(deferral, Some(begun), traced, RequestKind::Begun(function, operation))
            }
            (Some(Err(begun)), Route::Oversized { function }) => {
                self.hand_over(deferral, Some(begun), traced, RequestKind::Begun(function, None))
            }
            (_, route) => self.hand_over(deferral, None, traced, RequestKind::Route(Box::new(route))),
        }
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        buffers::take(bytes)
    }

    fn joined(&self, buffer: Vec<u8>) -> Bytes {
        buffers::shared(buffer)
    }

    /// Any dispatcher logs it: `{:tidepool_refused, request, reason, peer, left_out}`.
    fn refused(&self, refused: Refused) {
        if let Some(queue) = self.queues.first() {
            let Refused { request, reason, peer, left_out } = refused;
            let message =
                |env| (atoms::tidepool_refused(), request, reason.name(), peer.to_string(), left_out).encode(env);
            let _ = OwnedEnv::new().send_and_clear(&queue.dispatcher, message);
        }
    }
}

/// How many requests have come to a queue since the last time this was called: that many processes have to take one each.
#[rustler::nif]
fn http_unannounced(queue: &DispatchQueue) -> usize {
    queue.unannounced.swap(0, Ordering::AcqRel)
}

/// Makes the calling process the one that serves the next request of a queue: `{responder, route, step}`. `step` is what a
/// call needs next whose first slice the edge drove, as `call` returns it, and `nil` for other requests. `nil` when the queue
/// has no request whose client still waits.
#[rustler::nif]
fn http_take<'a>(env: Env<'a>, queue: &'a DispatchQueue) -> Option<(ResourceArc<ResponderHandle>, Term<'a>, Term<'a>)> {
    loop {
        let QueuedRequest { responder, stage, traced, kind } = queue.waiting.pop()?;
        let begun = advance(&stage, |before| match before {
            Stage::Queued(begun) => (Stage::Taken(env.pid()), Some(begun)),
            Stage::Taken(_) | Stage::HungUp => (before, None),
        });
        let Some(begun) = begun else { continue };
        let traced = sampling::term(env, traced.as_ref());
        let (route, io) = match kind {
            RequestKind::Begun(function, operation) => {
                ((atoms::begun(), function, operation, traced).encode(env), None)
            }
            RequestKind::Exchange(function, operation, exchange) => {
                let exchange = ResourceArc::new(ExchangeHandle(exchange));
                ((atoms::exchange(), function, operation, exchange, traced).encode(env), None)
            }
            RequestKind::Route(route) => {
                let io = matches!(*route, Route::Resource(_)).then(|| queue.resources.io.clone());
                (encode_route(env, *route, traced, &queue.resources), io)
            }
        };
        let step = match begun.map(|begun| *begun) {
            Some(Begun::Failed(error)) => encode::call_error(env, &error),
            Some(Begun::Unfinished { task, step, since }) => call::take_over(env, task, step, since.elapsed()),
            None => atoms::nil().encode(env),
        };
        return Some((ResourceArc::new(ResponderHandle { responder, io }), route, step));
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
        let body = message(body);
        responder.answer(Response { status: status.0, content_type, headers: headers.0, body });
    }
    atoms::ok()
}

fn encode_route<'a>(env: Env<'a>, route: Route, traced: Term<'a>, resources: &Resources) -> Term<'a> {
    match route {
        Route::Deploy(form, caller) => (atoms::deploy(), deploy(env, form), origin(env, caller), traced).encode(env),
        Route::Call { function, operation, payload, .. } => {
            (atoms::call(), function, operation, encode::binary(env, payload), traced).encode(env)
        }
        // The function of an oversized call that comes here is gone, which is for Elixir to say.
        Route::Admit { function } | Route::Oversized { function } => (atoms::admit(), function).encode(env),
        // Handed over as what it is.
        Route::Exchange(_) => atoms::nil().encode(env),
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
        (atoms::origin(), origin(env, caller)),
    ];
    (atoms::resource(), handler, encode::map(env, request)).encode(env)
}

/// `{:token | {:token, name, sha256} | :no_token, address}`.
fn origin(env: Env<'_>, caller: Caller) -> Term<'_> {
    let by = match (caller.token, caller.has_token) {
        (Some(token), _) => (atoms::token(), &token.name, encode::copy(env, &token.hash)).encode(env),
        (None, true) => atoms::token().encode(env),
        (None, false) => atoms::no_token().encode(env),
    };
    (by, caller.peer.to_string()).encode(env)
}

fn deploy(env: Env<'_>, form: Deploy) -> Term<'_> {
    encode::map(
        env,
        vec![
            (atoms::wasm(), form.wasm.map(|wasm| encode::binary(env, wasm)).encode(env)),
            (atoms::file_name(), form.file_name.encode(env)),
            (atoms::fields(), form.fields.encode(env)),
            (atoms::query(), form.query.encode(env)),
        ],
    )
}
