//! Resources of the host's, whose terms the caller keeps under numbers of its own.

use rustler::{Atom, Env, Error, LocalPid, NifResult, Term};
use tidepool_core::value::Handle;

use crate::function::wake::{Letter, post};
use crate::node::handle::Node;
use crate::terms::{atoms, resource};

/// A resource, `%Tidepool.Resource{}`. `to` is sent `{:tidepool_resource_end, id}` once, when it ends.
#[rustler::nif]
fn resource_new<'a>(env: Env<'a>, node: &'a Node, to: LocalPid, id: u64) -> Term<'a> {
    let io = node.io().clone();
    let handle = Handle::host(id, Box::new(move || post(Letter::ResourceEnd { to, id }, &io)));
    resource::term(env, &handle)
}

/// The host's number of a resource of its own; `nil` of a guest's.
#[rustler::nif]
fn resource_id(resource: Term<'_>) -> NifResult<Option<u64>> {
    Ok(handle(resource)?.host_id())
}

/// Ends a resource of the host's that no guest has.
#[rustler::nif]
fn resource_end(resource: Term<'_>) -> NifResult<Atom> {
    handle(resource)?.end_own();
    Ok(atoms::ok())
}

fn handle(resource: Term<'_>) -> NifResult<Handle> {
    resource::handle(resource).and_then(Result::ok).ok_or(Error::BadArg)
}
