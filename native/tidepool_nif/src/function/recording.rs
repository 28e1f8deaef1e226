//! Recordings of calls: kept, listed, read, replayed, debugged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustler::{Binary, Encoder, Env, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_core::{Damaged, Debugger, Files, Head, How, Listed, Recording, Summary, Told};

use crate::function::call::first_slice;
use crate::function::deploy::FunctionHandle;
use crate::node::handle::Node;
use crate::terms::message::message;
use crate::terms::{atoms, encode};

/// More than a page shows.
const MOST: usize = 10_000;

/// `:ok` or `{:error, message}`: keeps recordings in a folder from now on.
#[rustler::nif(schedule = "DirtyIo")]
fn open_recordings<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    folder: String,
    node_bytes: u64,
    function_bytes: u64,
) -> Term<'a> {
    match node.runtime.open_recordings(Path::new(&folder), node_bytes, function_bytes) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// `{kept, dropped}` since the node started.
#[rustler::nif]
fn recording_counts(node: ResourceArc<Node>) -> (u64, u64) {
    let counts = node.runtime.recordings().map(|keeper| keeper.counts());
    counts.map_or((0, 0), |counts| (counts.kept, counts.dropped))
}

/// The caller gets `{:tidepool_written, id}` when all is on the disk that was recorded before; where `forget` is said what comes after
/// goes on from nothing that is there. Nobody waits for that on a thread of the VM's.
#[rustler::nif]
fn flush_recordings(env: Env<'_>, node: ResourceArc<Node>, id: u64, forget: bool) -> Term<'_> {
    let Some(keeper) = node.runtime.recordings() else { return none_kept(env) };
    if forget {
        keeper.forget();
    }
    let owner = env.pid();
    keeper.when_written(move || {
        // On the keeper's own thread. A dead owner needs no message.
        let _ = OwnedEnv::new().send_and_clear(&owner, |env| (atoms::tidepool_written(), id).encode(env));
    });
    atoms::ok().encode(env)
}

/// `{:ok, [{id, bytes, head | nil, summary | message}]}`, the newest first, of what is on the disk: those of a function, of all whose names
/// have the beginning before a star (`shop/*`), or with `nil` of all.
#[rustler::nif(schedule = "DirtyIo")]
fn recordings<'a>(env: Env<'a>, node: ResourceArc<Node>, functions: Option<String>, most: usize) -> Term<'a> {
    with_files(env, &node, |files| {
        let listed = files.list(functions.as_deref(), most.min(MOST))?;
        let mut abouts = HashMap::new();
        let listed: Vec<_> = listed.iter().map(|one| encode_listed(env, one, &mut abouts)).collect();
        Ok((atoms::ok(), listed).encode(env))
    })
}

/// `{:ok, binary | nil}`: a recording as a file of its own; `{:damaged, message}` of one that can't be read, or goes on from such.
#[rustler::nif(schedule = "DirtyIo")]
fn recording<'a>(env: Env<'a>, node: ResourceArc<Node>, id: String) -> Term<'a> {
    with_files(env, &node, |files| {
        let found = files.read(&id)?;
        Ok((atoms::ok(), found.map(|bytes| encode::message(env, bytes))).encode(env))
    })
}

/// `{:ok, boolean}`: whether there was one.
#[rustler::nif(schedule = "DirtyIo")]
fn delete_recording<'a>(env: Env<'a>, node: ResourceArc<Node>, id: String) -> Term<'a> {
    with_files(env, &node, |files| Ok((atoms::ok(), files.delete(&id)?).encode(env)))
}

fn none_kept(env: Env<'_>) -> Term<'_> {
    (atoms::error(), "the node keeps no recordings").encode(env)
}

fn with_files<'a>(env: Env<'a>, node: &Node, ask: impl FnOnce(&Files) -> std::io::Result<Term<'a>>) -> Term<'a> {
    let Some(keeper) = node.runtime.recordings() else { return none_kept(env) };
    ask(keeper.files()).unwrap_or_else(|error| {
        let is_damaged = error.get_ref().is_some_and(|error| error.is::<Damaged>());
        let tag = if is_damaged { atoms::damaged() } else { atoms::error() };
        (tag, error.to_string()).encode(env)
    })
}

/// `{:ok, head, summary}` or `{:error, message}`: what is in a file with a recording.
#[rustler::nif]
fn read_recording<'a>(env: Env<'a>, bytes: Binary<'a>) -> Term<'a> {
    read(env, bytes)
}

/// The same of one that takes a scheduler longer than it may be held.
#[rustler::nif(schedule = "DirtyCpu")]
fn read_recording_large<'a>(env: Env<'a>, bytes: Binary<'a>) -> Term<'a> {
    read(env, bytes)
}

fn read<'a>(env: Env<'a>, bytes: Binary<'a>) -> Term<'a> {
    match Recording::summary_of(message(bytes)) {
        Ok((head, summary)) => (atoms::ok(), encode_head(env, &head), encode_summary(env, &summary)).encode(env),
        Err(damaged) => (atoms::error(), damaged.to_string()).encode(env),
    }
}

/// As `call`: replays a recording, with the module that it is of, or `against` another version.
#[rustler::nif]
fn replay<'a>(env: Env<'a>, function: ResourceArc<FunctionHandle>, bytes: Binary<'a>, against: bool) -> Term<'a> {
    begin_replay(env, &function, bytes, against)
}

/// The same of one with several calls, or that takes a scheduler longer than it may be held: each of the calls has a slice of its own.
#[rustler::nif(schedule = "DirtyCpu")]
fn replay_large<'a>(env: Env<'a>, function: ResourceArc<FunctionHandle>, bytes: Binary<'a>, against: bool) -> Term<'a> {
    begin_replay(env, &function, bytes, against)
}

fn begin_replay<'a>(env: Env<'a>, function: &FunctionHandle, bytes: Binary<'a>, against: bool) -> Term<'a> {
    let how = if against { How::Against } else { How::Exactly };
    match function.0.replay_file(message(bytes), how) {
        Ok(task) => first_slice(env, task),
        Err(error) => encode::call_error(env, &error),
    }
}

/// A session. The term means nothing on other nodes.
pub(crate) struct Session(Mutex<Debugger>);

#[rustler::resource_impl]
impl Resource for Session {}

/// `{:ok, session}` or `{:error, message}`: a recording is debugged by a function whose module was compiled for that.
#[rustler::nif(schedule = "DirtyCpu")]
fn debug<'a>(env: Env<'a>, function: ResourceArc<FunctionHandle>, recording: Binary<'a>, wasm: Binary<'a>) -> Term<'a> {
    match Debugger::new(Arc::clone(&function.0), message(recording), wasm.as_slice()) {
        Ok(debugger) => (atoms::ok(), ResourceArc::new(Session(Mutex::new(debugger)))).encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// `{:ok, [line], report | nil, quits?}` or `{:error, message}`: does what a line says. Takes as long as the guest does.
#[rustler::nif(schedule = "DirtyCpu")]
fn debug_command<'a>(env: Env<'a>, session: ResourceArc<Session>, line: Binary<'a>) -> Term<'a> {
    let mut debugger = session.0.lock().unwrap_or_else(PoisonError::into_inner);
    match debugger.command(&String::from_utf8_lossy(line.as_slice())) {
        Ok(Told { lines, report, quits }) => {
            let report = report.map(|report| encode::copy(env, report.to_string().as_bytes()));
            (atoms::ok(), lines, report, quits).encode(env)
        }
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

/// By what a function's module was compiled, and for what.
#[rustler::nif]
fn made(function: ResourceArc<FunctionHandle>) -> u64 {
    function.0.made()
}

/// What is said of functions, by where it is: the recordings of a file have one.
type Abouts<'a> = HashMap<(*const u8, usize), Term<'a>>;

fn encode_listed<'a>(env: Env<'a>, one: &Listed, abouts: &mut Abouts<'a>) -> Term<'a> {
    let head = one.head.as_ref().map(|head| {
        let place = (head.about.as_ptr(), head.about.len());
        let about = *abouts.entry(place).or_insert_with(|| encode::copy(env, &head.about));
        encode_head_with(env, head, about)
    });
    let summary = match &one.summary {
        Ok(summary) => encode_summary(env, summary),
        Err(damaged) => damaged.to_string().encode(env),
    };
    (&one.id, one.bytes, head, summary).encode(env)
}

/// `{name, version, about, made, start}`.
fn encode_head<'a>(env: Env<'a>, head: &Head) -> Term<'a> {
    encode_head_with(env, head, encode::copy(env, &head.about))
}

fn encode_head_with<'a>(env: Env<'a>, head: &Head, about: Term<'a>) -> Term<'a> {
    (&head.name, head.version, about, head.made, &head.start).encode(env)
}

/// `{at_ms, operation, payload_bytes, calls, redacted, reason, message}`.
fn encode_summary<'a>(env: Env<'a>, summary: &Summary) -> Term<'a> {
    let Summary { at_ms, operation, payload_bytes, calls, redacted, reason, message } = summary;
    (at_ms, operation, payload_bytes, calls, redacted, reason, message).encode(env)
}
