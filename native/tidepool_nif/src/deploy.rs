//! From bytes to a function that can be called.

use std::sync::Arc;

use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use tidepool_core::{Function, Module, Published};

use crate::decode::List;
use crate::node::Node;
use crate::{atoms, decode, encode};

/// A compiled module.
pub(crate) struct ModuleHandle(Arc<Module>);

#[rustler::resource_impl]
impl Resource for ModuleHandle {}

/// A function that can be called. The term may be kept anywhere on this node, and means nothing on others.
pub(crate) struct FunctionHandle(pub(crate) Arc<Function>);

#[rustler::resource_impl]
impl Resource for FunctionHandle {}

/// `{:ok, module, %{abi: …, imports: …, compile_us: …}}` or `{:error, reason, message, details}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn compile<'a>(env: Env<'a>, node: ResourceArc<Node>, wasm: Binary<'a>) -> Term<'a> {
    match node.runtime.compile(wasm.as_slice()) {
        Ok(module) => {
            let imports: Vec<String> =
                module.imports().iter().map(|(module, name)| format!("{module}.{name}")).collect();
            let abi = match module.abi() {
                tidepool_core::abi::Abi::Wapc => atoms::wapc(),
                tidepool_core::abi::Abi::WasiCommand => atoms::wasi(),
            };
            let facts = encode::map(
                env,
                vec![
                    (atoms::abi(), abi.encode(env)),
                    (atoms::imports(), imports.encode(env)),
                    (
                        atoms::compile_us(),
                        u64::try_from(module.compile_time().as_micros()).unwrap_or(u64::MAX).encode(env),
                    ),
                ],
            );
            (atoms::ok(), ResourceArc::new(ModuleHandle(Arc::new(module))), facts).encode(env)
        }
        Err(error) => encode::compile_error(env, &error),
    }
}

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
///
/// On the threads for I/O: those for computing may all be compiling.
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
