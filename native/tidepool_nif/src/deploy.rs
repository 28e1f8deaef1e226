//! From a compiled module to a function that is called by its name.

use std::sync::Arc;

use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{Function, Module, Published};

use crate::decode::List;
use crate::node::Node;
use crate::{atoms, decode, encode};

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

/// Makes functions callable by name, each in place of the one that had its name: a list of `{name, operation, function}`.
#[rustler::nif(schedule = "DirtyIo")]
fn publish<'a>(node: ResourceArc<Node>, functions: List<(String, Binary<'a>, ResourceArc<FunctionHandle>)>) -> Atom {
    let functions = functions.0.into_iter().map(|(name, operation, function)| {
        let published = Published { function: Arc::clone(&function.0), operation: operation.as_slice().into() };
        (name.into(), published)
    });
    node.runtime.directory().publish(functions.collect());
    atoms::ok()
}

/// Makes a name uncallable. Calls in flight finish.
#[rustler::nif(schedule = "DirtyIo")]
fn unpublish(node: ResourceArc<Node>, name: String) -> Atom {
    node.runtime.directory().unpublish(&name);
    atoms::ok()
}
