//! What guests printed and what failed last, for whoever looks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustler::{Binary, Encoder, Env, Resource, ResourceArc, Term};
use tidepool_core::console::KeptLine;
use tidepool_core::{Failure, Found, Recorded, Task};

use crate::node::handle::Node;
use crate::terms::{atoms, encode};

/// More than there are of a function.
const MOST: usize = 1_000;

/// The newest lines of a function, or with `nil` of all: `{position, 0, lines}`, up to `limit` of them, the oldest first. Where a
/// reader goes on is the position.
#[rustler::nif(schedule = "DirtyCpu")]
fn newest_lines<'a>(env: Env<'a>, node: ResourceArc<Node>, name: Option<Binary<'a>>, limit: usize) -> Term<'a> {
    let name = text(name.as_ref());
    found(env, node.runtime.lines().newest(name, limit.min(MOST)), name, line)
}

/// The lines after a position: `{position, missed, lines}`. `missed` says how many there were that are gone; `nil` that this is not
/// known.
#[rustler::nif(schedule = "DirtyCpu")]
fn lines_after<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    name: Option<Binary<'a>>,
    after: u64,
    limit: usize,
) -> Term<'a> {
    let name = text(name.as_ref());
    found(env, node.runtime.lines().after(name, after, limit.min(MOST)), name, line)
}

/// Like `newest_lines`, of calls that failed.
#[rustler::nif(schedule = "DirtyCpu")]
fn newest_failures<'a>(env: Env<'a>, node: ResourceArc<Node>, name: Option<Binary<'a>>, limit: usize) -> Term<'a> {
    let name = text(name.as_ref());
    found(env, node.runtime.failures().newest(name, limit.min(MOST)), name, failure)
}

/// Like `lines_after`, of calls that failed.
#[rustler::nif(schedule = "DirtyCpu")]
fn failures_after<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    name: Option<Binary<'a>>,
    after: u64,
    limit: usize,
) -> Term<'a> {
    let name = text(name.as_ref());
    found(env, node.runtime.failures().after(name, after, limit.min(MOST)), name, failure)
}

/// No function has a name that is not UTF-8.
fn text<'b>(name: Option<&'b Binary<'_>>) -> Option<&'b str> {
    name.map(|name| std::str::from_utf8(name.as_slice()).unwrap_or_default())
}

/// Each as `{position, at_ms, function, …}`: the position is that among what was asked for.
fn found<'a, T>(
    env: Env<'a>,
    found: Found<T>,
    name: Option<&str>,
    encode: impl Fn(Env<'a>, &Recorded<T>, u64) -> Term<'a>,
) -> Term<'a> {
    let position = |entry: &Recorded<T>| if name.is_some() { entry.number } else { entry.of_all };
    let entries: Vec<_> = found.entries.iter().map(|entry| encode(env, entry, position(entry))).collect();
    (found.position, found.missed, entries).encode(env)
}

/// `{position, at_ms, function, version, stream, text, dropped}`.
fn line<'a>(env: Env<'a>, entry: &Recorded<KeptLine>, position: u64) -> Term<'a> {
    let line = &entry.what;
    (position, entry.at_ms, &*entry.function, line.version, encode::stream(line.stream), &line.text, line.dropped)
        .encode(env)
}

/// `{position, at_ms, function, version, operation, payload, {:error, reason, message, details}}`.
fn failure<'a>(env: Env<'a>, entry: &Recorded<Failure>, position: u64) -> Term<'a> {
    let failure = &entry.what;
    let payload = failure.payload.as_ref().map(|payload| encode::copy(env, payload));
    let error = if failure.is_aborted {
        let message = failure.error.to_string();
        (atoms::error(), atoms::aborted(), message, Term::map_new(env)).encode(env)
    } else {
        encode::call_error(env, &failure.error)
    };
    (position, entry.at_ms, &*entry.function, failure.version, &failure.operation, payload, error).encode(env)
}

/// The line that the guest of a call printed last. The call's driver leaves it here after each slice, for others who wait for the call: the
/// task never leaves its driver, with which it ends.
#[derive(Default)]
pub(crate) struct LastLineHandle(Mutex<(u64, Option<String>)>);

#[rustler::resource_impl]
impl Resource for LastLineHandle {}

impl LastLineHandle {
    /// Notes the last line that the task's guest has printed, if it has printed since.
    pub(crate) fn note(&self, task: &Task) {
        let mut noted = self.noted();
        if let Some((number, text)) = task.last_line(noted.0) {
            *noted = (number, Some(text));
        }
    }

    fn noted(&self) -> MutexGuard<'_, (u64, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for the last line of one call, for `call_observed`.
#[rustler::nif]
fn new_last_line() -> ResourceArc<LastLineHandle> {
    ResourceArc::new(LastLineHandle::default())
}

/// The last line that the call's guest had printed when its last slice ended; `nil` before.
#[rustler::nif]
fn last_line(handle: &LastLineHandle) -> Option<String> {
    handle.noted().1.clone()
}
