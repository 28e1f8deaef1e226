//! Pollables of streams, which count apart from a guest's other handles, in the host's table and in its own. An engine of JavaScript has one
//! for each piece of a body until it collects garbage.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};

use super::define::shadowing;
use super::http::grown;
use crate::abi::slots::State;

/// What each takes.
const POLLABLE_BYTES: usize = 128;

/// Defines what makes and drops them, in the place of what there is.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    shadowing(linker, define)
}

fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    subscribed::<DynInputStream>(&mut streams, "[method]input-stream.subscribe")?;
    subscribed::<DynOutputStream>(&mut streams, "[method]output-stream.subscribe")?;
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.resource("pollable", ResourceType::host::<DynPollable>(), |mut store, index| {
        let context = store.data_mut().component_context();
        HostPollable::drop(&mut context.table, Resource::new_own(index))?;
        if context.pollables.remove(&index) {
            context.table.set_max_capacity(context.handles + context.pollables.len());
            let most = store.max_component_handles();
            store.set_max_component_handles(most.saturating_sub(1));
        }
        Ok(())
    })
}

fn subscribed<T: Pollable>(streams: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    streams.func_wrap(name, |mut store: StoreContextMut<'_, State>, (stream,): (Resource<T>,)| {
        // A command has another context when its call begins, which would know nothing of those that it had as it was made.
        let is_made = store.data().abi.component.is_bound;
        let context = store.data_mut().component_context();
        let count = context.pollables.len();
        let has_room = is_made && count < context.most_pollables;
        if has_room {
            context.table.set_max_capacity(context.handles + count + 1);
        }
        let made = subscribe(&mut context.table, stream)?;
        let slot_bytes = context.http.content.had(made.rep());
        if has_room {
            context.pollables.insert(made.rep());
            // Its place in the guest's table is in the account from now on, as that in the host's is.
            let most = store.max_component_handles();
            store.set_max_component_handles(most.saturating_add(1));
        }
        grown(&mut store, POLLABLE_BYTES.saturating_add(slot_bytes))?;
        Ok((made,))
    })
}
