//! What is in instances that stay with whoever holds their term, while they serve no call.

use rustler::{Binary, Encoder, Env, Term};
use tidepool_core::{CallError, Export, ExportKind};

use crate::function::owned::OwnedHandle;
use crate::terms::{atoms, encode, values};

/// `{:ok, bytes}` or an error.
#[rustler::nif]
fn memory_size<'a>(env: Env<'a>, owned: &'a OwnedHandle) -> Term<'a> {
    outcome(env, owned.0.memory_bytes())
}

/// `{:ok, binary}` or an error. For what is copied in less than a tenth of a millisecond.
#[rustler::nif]
fn read_memory<'a>(env: Env<'a>, owned: &'a OwnedHandle, offset: u64, length: u64) -> Term<'a> {
    outcome(env, owned.0.read_memory(offset, length, |bytes| encode::copy(env, bytes)))
}

/// The same, however much it is.
#[rustler::nif(schedule = "DirtyCpu")]
fn read_memory_large<'a>(env: Env<'a>, owned: &'a OwnedHandle, offset: u64, length: u64) -> Term<'a> {
    outcome(env, owned.0.read_memory(offset, length, |bytes| encode::copy(env, bytes)))
}

/// `:ok` or an error. For as little as `read_memory`.
#[rustler::nif]
fn write_memory<'a>(env: Env<'a>, owned: &'a OwnedHandle, offset: u64, bytes: Binary<'a>) -> Term<'a> {
    done(env, owned.0.write_memory(offset, &bytes))
}

/// The same, however much it is.
#[rustler::nif(schedule = "DirtyCpu")]
fn write_memory_large<'a>(env: Env<'a>, owned: &'a OwnedHandle, offset: u64, bytes: Binary<'a>) -> Term<'a> {
    done(env, owned.0.write_memory(offset, &bytes))
}

/// `{:ok, pages_before}` or an error. A memory that can't grow where it is is copied.
#[rustler::nif(schedule = "DirtyCpu")]
fn grow_memory<'a>(env: Env<'a>, owned: &'a OwnedHandle, pages: u64) -> Term<'a> {
    outcome(env, owned.0.grow_memory(pages))
}

/// `{:ok, number}` or an error.
#[rustler::nif]
fn get_global<'a>(env: Env<'a>, owned: &'a OwnedHandle, name: &'a str) -> Term<'a> {
    outcome(env, owned.0.global(name).map(|value| values::term(env, &value)))
}

/// `:ok` or an error.
#[rustler::nif]
fn set_global<'a>(env: Env<'a>, owned: &'a OwnedHandle, name: &'a str, value: Term<'a>) -> Term<'a> {
    done(env, values::value(value).and_then(|value| owned.0.set_global(name, &value)))
}

/// A list of `{name, :function, params, results}`, `{name, :global, type, mutable}` and `{name, :memory | :other}`; of a component
/// of `{name, :function, {interface | nil, function}, [{param, type}], type | nil, why_uncallable | nil}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn owned_exports<'a>(env: Env<'a>, owned: &'a OwnedHandle) -> Term<'a> {
    let export = |Export { name, kind }| match kind {
        ExportKind::Function { params, results } => (name, atoms::function(), params, results).encode(env),
        ExportKind::Typed { interface, function, params, result, uncallable } => {
            (name, atoms::function(), (interface, function), params, result, uncallable).encode(env)
        }
        ExportKind::Global { ty, mutable } => (name, atoms::global(), ty, mutable).encode(env),
        ExportKind::Memory => (name, atoms::memory()).encode(env),
        ExportKind::Other => (name, atoms::other()).encode(env),
    };
    owned.0.exports().into_iter().map(export).collect::<Vec<_>>().encode(env)
}

fn outcome<'a>(env: Env<'a>, outcome: Result<impl Encoder, CallError>) -> Term<'a> {
    match outcome {
        Ok(value) => (atoms::ok(), value).encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}

fn done(env: Env<'_>, outcome: Result<(), CallError>) -> Term<'_> {
    match outcome {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => encode::call_error(env, &error),
    }
}
