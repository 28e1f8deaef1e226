//! From the core's outcomes to terms.

use std::fmt::Display;
use std::time::Duration;

use rustler::{Atom, Encoder, Env, ResourceArc, Term};
use tidepool_core::console::Stream;
use tidepool_core::trap::Frame;
use tidepool_core::{CallError, CompileError, Detail, Details, EngineKind, HostCall, ImportCall, Reply, buffers};
use tidepool_errors::Reason;

use crate::terms::bytes::LARGE_BYTES;
pub(crate) use crate::terms::bytes::{binary, copy};
use crate::terms::source_lines::LinesHandle;
use crate::terms::{atoms, values};

/// Most bytes of a text of an error: a process writes all of one as JSON in one go.
const TEXT_BYTES: usize = 16 << 10;

/// A message of a guest's as a binary. Short ones, which most are, are copied as they are.
pub(crate) fn message(env: Env<'_>, bytes: Vec<u8>) -> Term<'_> {
    if bytes.len() < LARGE_BYTES { copy(env, &bytes) } else { binary(env, buffers::shared(bytes)) }
}

/// 584,000 years fit.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// `{:ok, reply}` or `{:error, reason, message, details}`.
pub(crate) fn outcome(env: Env<'_>, outcome: Result<Reply, CallError>) -> Term<'_> {
    match outcome {
        Ok(Reply::Bytes(reply)) => (atoms::ok(), message(env, reply)).encode(env),
        Ok(Reply::Value(value)) => (atoms::ok(), values::into_term(env, *value)).encode(env),
        Ok(Reply::Responded) => (atoms::ok(), atoms::responded()).encode(env),
        Err(error) => call_error(env, &error),
    }
}

/// `{:import, binding, namespace, operation, arguments}`.
pub(crate) fn import_call<'a>(env: Env<'a>, call: &ImportCall) -> Term<'a> {
    let arguments: Vec<_> = call.arguments.iter().map(|value| values::term(env, value)).collect();
    (atoms::import(), call.binding, &call.namespace, &call.operation, arguments).encode(env)
}

/// `{:wapc, binding, namespace, operation, payload}`.
pub(crate) fn host_call(env: Env<'_>, call: HostCall) -> Term<'_> {
    let [binding, namespace, operation] = [call.binding, call.namespace, call.operation].map(|name| copy(env, &name));
    (atoms::wapc(), binding, namespace, operation, message(env, call.payload)).encode(env)
}

/// `{:error, reason, message, details}`.
pub(crate) fn call_error<'a>(env: Env<'a>, error: &CallError) -> Term<'a> {
    failure(env, error.reason(), error.kind(), error, error.details())
}

/// `{:error, reason, message, details}`.
pub(crate) fn compile_error<'a>(env: Env<'a>, error: &CompileError) -> Term<'a> {
    failure(env, error.reason(), None, error, error.details())
}

/// The same without details, of what is refused here.
pub(crate) fn refusal<'a>(env: Env<'a>, reason: Reason, message: &str) -> Term<'a> {
    failure(env, reason, None, &message, Vec::new())
}

/// A reason, as one of its kinds if it is told with one.
fn failure<'a>(
    env: Env<'a>,
    reason: Reason,
    kind: Option<&'static str>,
    message: &dyn Display,
    details: Details<'_>,
) -> Term<'a> {
    let word = atoms::reason(env, reason);
    let reason = kind.map_or_else(|| word.encode(env), |kind| (word, atoms::named(env, kind)).encode(env));
    let mut pairs = Vec::with_capacity(details.len());
    for (name, value) in details {
        if let Detail::Frames(frames) = value {
            pairs.extend(lines(frames).map(|lines| (atoms::lines(), lines.encode(env))));
        }
        pairs.push((atoms::named(env, name), detail(env, value)));
    }
    (atoms::error(), reason, short(&message.to_string()), map(env, pairs)).encode(env)
}

/// As much of a text as is told of an error: names of a guest's types, which it may have, are long where the guest likes.
fn short(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or_default()
}

fn detail<'a>(env: Env<'a>, value: Detail<'_>) -> Term<'a> {
    match value {
        Detail::Count(count) => count.encode(env),
        Detail::Code(code) => code.encode(env),
        Detail::Text(text) => short(&text).encode(env),
        Detail::Texts(texts) => texts.encode(env),
        Detail::Frames(frames) => backtrace(env, frames),
        Detail::Value(value, false) => values::term(env, value),
        Detail::Value(value, true) => values::json(env, value),
    }
}

/// The name of an engine.
pub(crate) fn engine(kind: EngineKind) -> Atom {
    match kind {
        EngineKind::Fast => atoms::fast(),
        EngineKind::Dense => atoms::dense(),
    }
}

/// A map with atom keys.
pub(crate) fn map<'a>(env: Env<'a>, pairs: Vec<(Atom, Term<'a>)>) -> Term<'a> {
    pairs.into_iter().fold(Term::map_new(env), |map, (key, value)| map.map_put(key, value).unwrap_or(map))
}

/// As the console and its readers call it.
pub(crate) fn stream(stream: Stream) -> Atom {
    match stream {
        Stream::Console => atoms::console(),
        Stream::Stdout => atoms::stdout(),
        Stream::Stderr => atoms::stderr(),
    }
}

fn backtrace<'a>(env: Env<'a>, frames: &[Frame]) -> Term<'a> {
    let frames: Vec<Term<'a>> = frames
        .iter()
        .map(|frame| {
            map(
                env,
                vec![
                    (atoms::function(), frame.name.encode(env)),
                    (atoms::index(), frame.index.encode(env)),
                    (atoms::offset(), frame.offset.encode(env)),
                ],
            )
        })
        .collect();
    frames.encode(env)
}

/// What finds the lines of a backtrace: that takes too long here.
fn lines(frames: &[Frame]) -> Option<ResourceArc<LinesHandle>> {
    frames.first().and_then(|frame| frame.lines.clone()).map(|lines| ResourceArc::new(LinesHandle(lines)))
}
