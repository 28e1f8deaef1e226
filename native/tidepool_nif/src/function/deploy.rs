//! From a compiled module to a function that is called by its name.

use std::sync::Arc;

use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use tidepool_core::{Function, Grants, HostGrants, Module, Optimised, Published, Tier};

use crate::node::handle::Node;
use crate::terms::decode::List;
use crate::terms::{atoms, decode, encode};

/// A compiled module.
pub(crate) struct ModuleHandle(pub(crate) Arc<Module>);

#[rustler::resource_impl]
impl Resource for ModuleHandle {}

/// A function that can be called. The term may be kept anywhere on this node, and means nothing on others.
pub(crate) struct FunctionHandle(pub(crate) Arc<Function>);

#[rustler::resource_impl]
impl Resource for FunctionHandle {}

/// `{:ok, function}` or `{:error, reason, message, details}`.
#[rustler::nif]
fn new_function<'a>(env: Env<'a>, module: ResourceArc<ModuleHandle>, config: Term<'a>) -> NifResult<Term<'a>> {
    let config = decode::function_config(config)?;
    Ok(match module.0.function(config) {
        Ok(function) => (atoms::ok(), ResourceArc::new(FunctionHandle(Arc::new(function)))).encode(env),
        Err(error) => encode::compile_error(env, &error),
    })
}

/// What is wrong with a list of grants; `nil` when nothing is.
#[rustler::nif]
fn grants_fault(texts: List<String>) -> Option<String> {
    Grants::parse(texts.0.iter().map(String::as_str)).err()
}

/// What is wrong with a list of grants of the host; `nil` when nothing is.
#[rustler::nif]
fn host_grants_fault(texts: List<String>) -> Option<String> {
    HostGrants::parse(texts.0.iter().map(String::as_str)).err()
}

/// Does a list of grants of the host grant the import with this target?
#[rustler::nif]
fn import_granted(texts: List<String>, target: (String, String, String)) -> NifResult<bool> {
    let grants = HostGrants::parse(texts.0.iter().map(String::as_str)).map_err(|_text| rustler::Error::BadArg)?;
    Ok(grants.allow_import([&target.0, &target.1, &target.2]))
}

/// The first grant of a list that is not within those of another; `nil` when all are.
#[rustler::nif]
fn grants_beyond(asked: List<String>, allowed: List<String>) -> NifResult<Option<String>> {
    let allowed = Grants::parse(allowed.0.iter().map(String::as_str)).map_err(|_text| rustler::Error::BadArg)?;
    Ok(allowed.first_beyond(asked.0.iter().map(String::as_str)).map(str::to_owned))
}

/// Makes functions callable by name, each in place of the one that had its name: a list of `{name, operation, function}`.
/// For each that the baseline tier serves the caller gets `{:tidepool_optimised, name, version, outcome}` when it has its
/// optimised code, with `{:ok, us}` or `{:error, reason, message, details}`, unless it is replaced or removed before.
#[rustler::nif(schedule = "DirtyIo")]
fn publish<'a>(
    env: Env<'a>,
    node: ResourceArc<Node>,
    functions: List<(String, Binary<'a>, ResourceArc<FunctionHandle>)>,
) -> Atom {
    let published = |(name, operation, function): &(String, Binary<'a>, ResourceArc<FunctionHandle>)| {
        let published = Published { function: Arc::clone(&function.0), operation: operation.as_slice().into() };
        (name.as_str().into(), published)
    };
    node.runtime.directory().publish(functions.0.iter().map(published).collect());
    for (name, _operation, function) in functions.0 {
        let (owner, version) = (env.pid(), function.0.version());
        node.runtime.optimise(&name.clone(), move |outcome| tell_optimised(&owner, &name, version, &outcome));
    }
    atoms::ok()
}

/// Called on a compile thread.
fn tell_optimised(owner: &LocalPid, name: &str, version: u64, outcome: &Optimised) {
    // A dead owner needs no message.
    let _ = OwnedEnv::new().send_and_clear(owner, |env| {
        let outcome = match outcome {
            Ok(took) => (atoms::ok(), encode::micros(*took)).encode(env),
            Err(error) => encode::compile_error(env, error),
        };
        (atoms::tidepool_optimised(), name, version, outcome).encode(env)
    });
}

/// `:baseline` or `:optimised`, or `nil` when nothing is published under this name.
#[rustler::nif]
fn tier(node: ResourceArc<Node>, name: String) -> Option<Atom> {
    node.runtime.directory().with(&name, |published| tier_atom(published.function.tier()))
}

/// Do calls of this name have JSON for payload and reply? Of one that nothing is published under they do not.
#[rustler::nif(name = "typed?")]
fn typed(node: &Node, name: Binary<'_>) -> bool {
    let name = std::str::from_utf8(name.as_slice()).unwrap_or_default();
    node.runtime.directory().with(name, |published| published.function.is_typed()).unwrap_or(false)
}

pub(crate) fn tier_atom(tier: Tier) -> Atom {
    match tier {
        Tier::Baseline => atoms::baseline(),
        Tier::Optimised => atoms::optimised(),
    }
}

/// Replaces all routes by these: each with the name of its function. There may be tens of thousands, at a µs and more each.
#[rustler::nif(schedule = "DirtyCpu")]
fn set_routes(node: &Node, routes: List<(String, String)>) -> Atom {
    node.runtime.sites().set(routes.0);
    atoms::ok()
}

/// Makes a name uncallable. Calls in flight finish.
#[rustler::nif(schedule = "DirtyIo")]
fn unpublish(node: ResourceArc<Node>, name: String) -> Atom {
    node.runtime.unpublish(&name);
    atoms::ok()
}
