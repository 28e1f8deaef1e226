//! Programs on several nodes: parts of those that began elsewhere, and who is where.

use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};
use tidepool_core::{Away, NameOperation, Part, Room};

use crate::function::call::{TaskHandle, with_call};
use crate::function::deploy::FunctionHandle;
use crate::function::request::ProcessHandle;
use crate::node::handle::Node;
use crate::terms::decode::{List, field};
use crate::terms::{atoms, pid};

/// Says which other nodes there are, by their numbers.
#[rustler::nif]
fn set_nodes(node: &Node, others: List<u64>) -> Atom {
    node.runtime.set_nodes(others.0);
    atoms::ok()
}

/// `{version, function}` of a name, or `nil`.
#[rustler::nif]
fn published<'a>(env: Env<'a>, node: &'a Node, name: Binary<'a>) -> Term<'a> {
    let Ok(name) = std::str::from_utf8(name.as_slice()) else { return atoms::nil().encode(env) };
    let found = node.runtime.directory().with(name, |published| std::sync::Arc::clone(&published.function));
    match found {
        Some(function) => (function.version(), ResourceArc::new(FunctionHandle(function))).encode(env),
        None => atoms::nil().encode(env),
    }
}

/// The version of a name, or `nil`.
#[rustler::nif]
fn published_version(node: &Node, name: Binary<'_>) -> Option<u64> {
    let name = std::str::from_utf8(name.as_slice()).ok()?;
    node.runtime.directory().with(name, |published| published.function.version())
}

/// A part of a program that began on another node, as a process that the caller has in it. `part` is `node`, `origin`, `module`
/// and `first`, all numbers.
#[rustler::nif]
fn process_part<'a>(env: Env<'a>, function: &'a FunctionHandle, part: Term<'a>) -> NifResult<Term<'a>> {
    let part = Part {
        node: field(part, atoms::node())?,
        origin: field(part, atoms::origin())?,
        module: field(part, atoms::module())?,
        first: field(part, atoms::first())?,
    };
    let made = pid::address(env.pid()).and_then(|keeper| function.0.part(part, keeper));
    made.map(|part| ResourceArc::new(ProcessHandle(part)).encode(env)).ok_or(rustler::Error::BadArg)
}

/// Makes a process in a part: `{:ok, process}`, or `{:error, text}`.
#[rustler::nif]
fn process_arrive<'a>(
    env: Env<'a>,
    function: &'a FunctionHandle,
    part: &'a ProcessHandle,
    away: Term<'a>,
) -> NifResult<Term<'a>> {
    let (compile, configure, spawn) = field(away, atoms::may())?;
    let away = Away {
        node: 0,
        entry: field(away, atoms::entry())?,
        params: field::<Binary<'_>>(away, atoms::params())?.as_slice().to_vec(),
        max_memory: field(away, atoms::max_memory())?,
        max_fuel: field(away, atoms::max_fuel())?,
        total_cpu_us: field(away, atoms::total_cpu_us())?,
        may: [compile, configure, spawn],
        args: field::<List<String>>(away, atoms::args())?.0,
        env: field::<List<(String, String)>>(away, atoms::env())?.0,
    };
    Ok(match function.0.arrive(&part.0, away) {
        Ok(process) => (atoms::ok(), ResourceArc::new(ProcessHandle(process))).encode(env),
        Err(text) => (atoms::error(), text).encode(env),
    })
}

/// Lets a process run that was made in a part.
#[rustler::nif]
fn process_release(process: &ProcessHandle) -> Atom {
    process.0.release();
    atoms::ok()
}

/// `{pid, guest?}` of the process with a number in the program of a guest, if it lives here, or `nil`.
#[rustler::nif]
fn process_locate<'a>(env: Env<'a>, process: &'a ProcessHandle, id: u64) -> Term<'a> {
    match process.0.locate(id) {
        Some((address, is_guest)) => (pid::term(env, Some(address)), is_guest).encode(env),
        None => atoms::nil().encode(env),
    }
}

/// Does something with a name of the program of a process, which began here: the code and the number that a guest gets.
#[rustler::nif]
fn process_name(process: &ProcessHandle, operation: Atom, name: &str, id: u64) -> NifResult<(i32, u64)> {
    let operations = [
        (atoms::put(), NameOperation::Put),
        (atoms::claim(), NameOperation::Claim),
        (atoms::get(), NameOperation::Get),
        (atoms::remove(), NameOperation::Remove),
        (atoms::free(), NameOperation::Free),
    ];
    let found = operations.into_iter().find(|(atom, _operation)| *atom == operation);
    let (_atom, operation) = found.ok_or(rustler::Error::BadArg)?;
    Ok(process.0.name(operation, name, id).code())
}

/// Takes some names of its program from a process of another node that has died; whether it has none any more.
#[rustler::nif]
fn process_forget_names(process: &ProcessHandle, dead: u64) -> bool {
    process.0.forget_names(dead)
}

/// Is there room for a message with this tag in the mailbox of the process that a task drives? `:free`, `:wanted` or `:full`;
/// then the caller is who drives it until there is some.
#[rustler::nif]
fn process_room<'a>(env: Env<'a>, task: &'a TaskHandle, tag: i64) -> Term<'a> {
    let room = with_call(env, task, |call| {
        let room = call.task.room(tag);
        if room == Room::Full {
            call.stay();
        }
        room
    });
    let room = room.map(|room| match room {
        Room::Free => atoms::free(),
        Room::Wanted => atoms::wanted(),
        Room::Full => atoms::full(),
    });
    room.map_or_else(|refusal| refusal, |room| room.encode(env))
}
