//! Handles of resources as terms: `%Tidepool.Resource{ref: reference, type: name | nil}`. What counts is the reference alone, which
//! nobody can make up; the name is for who reads it.

use rustler::{Atom, Encoder, Env, Resource, ResourceArc, Term};
use tidepool_core::value::Handle;

use crate::terms::atoms;

/// A handle, which is gone with its last term.
pub(crate) struct ResourceHandle(pub(crate) Handle);

#[rustler::resource_impl]
impl Resource for ResourceHandle {}

/// A handle as a term.
pub(crate) fn term<'a>(env: Env<'a>, handle: &Handle) -> Term<'a> {
    let reference = ResourceArc::new(ResourceHandle(handle.clone())).encode(env);
    let fields = [
        (atoms::__struct__().encode(env), atoms::resource_struct().encode(env)),
        (atoms::r#ref().encode(env), reference),
        (atoms::r#type().encode(env), handle.name().as_deref().encode(env)),
    ];
    fields.into_iter().fold(Term::map_new(env), |map, (key, value)| map.map_put(key, value).unwrap_or(map))
}

/// The handle that a map is the term of; `None` when it is another map, or says to be one and has none.
pub(crate) fn handle(term: Term<'_>) -> Option<Result<Handle, &'static str>> {
    let named = term.map_get(atoms::__struct__()).ok()?;
    if !named.decode().is_ok_and(|named: Atom| named == atoms::resource_struct()) {
        return None;
    }
    let reference = term.map_get(atoms::r#ref()).and_then(|term| term.decode::<ResourceArc<ResourceHandle>>());
    Some(reference.map(|resource| resource.0.clone()).map_err(|_| "it is a resource that this node does not have"))
}
