//! How requests are answered, and bodies that come in pieces: answers that a process goes on writing, and requests that it
//! reads as they come.
//!
//! Nothing here waits. A process that finds no room, or nothing to read yet, gets a message: `{:tidepool_stream, id, :room | :closed |
//! :draining}`, `{:tidepool_body, id, :ready}`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustler::{Atom, Binary, Decoder, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_http::{BodyReader, ContentType, Piece, Responder, Response, Signal, Writer};
use tokio::runtime::Handle;

use crate::edge::exchange::Waiting;
use crate::function::wake::is_scheduler_thread;
use crate::terms::decode::{List, Short};
use crate::terms::{atoms, encode};

/// The way to answer a request. Its term never leaves the process that has taken the request: when that dies the VM frees
/// its terms, and dropped unanswered this one tells the client.
pub(crate) struct ResponderHandle {
    pub(crate) responder: Waiting,
    /// Those of resources may be answered piece by piece.
    pub(crate) io: Option<Handle>,
}

impl ResponderHandle {
    /// The responder, for an answer that comes piece by piece; it is gone then.
    pub(crate) fn take(&self) -> Option<(Responder, Handle)> {
        let io = self.io.clone()?;
        let responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((responder, io))
    }
}

#[rustler::resource_impl]
impl Resource for ResponderHandle {}

/// What a body is: `:json`, `:text`, `:bytes`, `:reply` for `:text` when it is UTF-8 and `:bytes` otherwise, or as it goes
/// into the header.
pub(crate) enum Kind {
    Known(ContentType),
    Reply,
}

impl<'a> Decoder<'a> for Kind {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if let Ok(name) = term.decode::<String>() {
            return Ok(Kind::Known(ContentType::Other(name)));
        }
        match term.decode::<Atom>()? {
            kind if kind == atoms::reply() => Ok(Kind::Reply),
            kind if kind == atoms::json() => Ok(Kind::Known(ContentType::Json)),
            kind if kind == atoms::text() => Ok(Kind::Known(ContentType::Text)),
            _ => Ok(Kind::Known(ContentType::Bytes)),
        }
    }
}

impl Kind {
    pub(crate) fn of(self, body: &[u8]) -> ContentType {
        match self {
            Kind::Known(kind) => kind,
            Kind::Reply => ContentType::of_reply(body),
        }
    }
}

/// The way to go on with an answer. As with a responder's, its term stays with the process that has begun it: when that dies
/// the client sees the answer break off.
struct StreamHandle(Mutex<Option<Writer>>);

#[rustler::resource_impl]
impl Resource for StreamHandle {}

/// A request's body that is read as it comes.
struct BodyHandle(BodyReader);

#[rustler::resource_impl]
impl Resource for BodyHandle {}

/// The process that is told of a stream or a body.
struct Listener {
    owner: LocalPid,
    id: u64,
    io: Handle,
}

impl Listener {
    fn new(env: Env<'_>, io: &Handle) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Listener { owner: env.pid(), id: NEXT.fetch_add(1, Ordering::Relaxed), io: io.clone() }
    }

    fn tell(&self, of: Atom, what: Atom) {
        let (owner, id) = (self.owner, self.id);
        let send = move || {
            // A dead owner needs no message.
            let _ = OwnedEnv::new().send_and_clear(&owner, |_| (of, id, what));
        };
        if is_scheduler_thread() {
            // The VM takes messages without an environment from its own threads alone when they come from others.
            self.io.spawn(async move { send() });
        } else {
            send();
        }
    }
}

/// Begins an answer whose body comes piece by piece: `{:ok, stream, id}`, or `:closed` when the client is gone.
#[rustler::nif]
fn http_stream<'a>(
    env: Env<'a>,
    responder: &ResponderHandle,
    status: Short,
    content_type: Kind,
    headers: List<(String, String)>,
) -> Term<'a> {
    let Some((responder, io)) = responder.take() else { return atoms::closed().encode(env) };
    let head = Response { headers: headers.0, ..Response::new(status.0, content_type.of(b""), "") };
    let listener = Listener::new(env, &io);
    let id = listener.id;
    let signal = move |signal| {
        let what = match signal {
            Signal::Room => atoms::room(),
            Signal::Closed => atoms::closed(),
            Signal::Draining => atoms::draining(),
        };
        listener.tell(atoms::tidepool_stream(), what);
    };
    match responder.stream(head, signal) {
        Some(writer) => (atoms::ok(), ResourceArc::new(StreamHandle(Mutex::new(Some(writer)))), id).encode(env),
        None => atoms::closed().encode(env),
    }
}

/// How many of the bytes were taken. When it was not all of them the caller of `http_stream` gets `:room` when there is some
/// again. `:closed` when the client is gone, or the answer finished.
#[rustler::nif]
fn http_write<'a>(env: Env<'a>, stream: &StreamHandle, bytes: Binary<'a>) -> Term<'a> {
    let writer = stream.0.lock().unwrap_or_else(PoisonError::into_inner);
    match writer.as_ref().map(|writer| writer.write(bytes.as_slice())) {
        Some(Ok(taken)) => taken.encode(env),
        Some(Err(_)) | None => atoms::closed().encode(env),
    }
}

/// The answer is whole.
#[rustler::nif]
fn http_finish(stream: &StreamHandle) -> Atom {
    let writer = stream.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(writer) = writer {
        writer.finish();
    }
    atoms::ok()
}

/// `{:data, bytes}`, `:done` behind the last of them, `{:error, reason}` when the rest does not come, or `:later`: the process
/// that has taken the request gets `:ready` when there is something.
#[rustler::nif]
fn http_read<'a>(env: Env<'a>, body: &BodyHandle) -> Term<'a> {
    match body.0.read() {
        Piece::Data(bytes) => (atoms::data(), encode::binary(env, bytes)).encode(env),
        Piece::End => atoms::done().encode(env),
        Piece::Failed(reason) => (atoms::error(), reason.name()).encode(env),
        Piece::Later => atoms::later().encode(env),
    }
}

/// `{body, id}`, of a body that the calling process is told of from now on.
pub(crate) fn body<'a>(env: Env<'a>, reader: BodyReader, io: &Handle) -> Term<'a> {
    let listener = Listener::new(env, io);
    let id = listener.id;
    reader.listen(move || listener.tell(atoms::tidepool_body(), atoms::ready()));
    (ResourceArc::new(BodyHandle(reader)), id).encode(env)
}
