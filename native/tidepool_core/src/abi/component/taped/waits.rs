//! Waits for pollables: a replay waits for nothing, and is told what came of them.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmList};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll::{Host, HostPollable};

use crate::abi::component::table::table_of;
use crate::abi::memory::copied_of;
use crate::abi::slots::State;
use crate::abi::wasi::bounded::{MAX_SUBSCRIPTIONS, SUBSCRIPTION_BYTES};
use crate::recording::entry::Waited;
use crate::recording::tape::Tape;

pub(super) fn define(poll: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    poll.func_wrap_async("poll", |store, all| Box::new(several(store, all)))?;
    poll.func_wrap_async("[method]pollable.ready", |store, one| Box::new(ready(store, one)))?;
    poll.func_wrap_async("[method]pollable.block", |store, one| Box::new(block(store, one)))
}

/// Waits for one of several: the places of those that are ready.
async fn several(
    mut store: StoreContextMut<'_, State>,
    (named,): (WasmList<Resource<DynPollable>>,),
) -> wasmtime::Result<(Vec<u32>,)> {
    // Asked before they are looked up: a list may name the same one again and again.
    if named.len() > MAX_SUBSCRIPTIONS.into() {
        let text = format!("the guest waits for {} pollables at once, and may for {MAX_SUBSCRIPTIONS}", named.len());
        return Err(wasmtime::Error::msg(text));
    }
    let all: Vec<_> = named.iter(&mut store)?.collect::<wasmtime::Result<_>>()?;
    copied_of(&mut store, all.len() * SUBSCRIPTION_BYTES).await;
    let tape = store.data().tape.clone();
    // None is refused, each time.
    let Some(tape) = tape.filter(|_tape| !all.is_empty()) else {
        return Ok((Host::poll(table_of(&mut store), all).await?,));
    };
    let places = 0..u32::try_from(all.len())?;
    let told = told(&tape, async {
        let ready = Host::poll(table_of(&mut store), all).await?;
        Ok(ready.into_iter().flat_map(u32::to_le_bytes).collect())
    });
    Ok((match told.await? {
        Some(ready) => {
            ready.chunks_exact(4).filter_map(|it| it.first_chunk().map(|it| u32::from_le_bytes(*it))).collect()
        }
        None => places.collect(),
    },))
}

/// Is this one ready?
async fn ready(mut store: StoreContextMut<'_, State>, (one,): (Resource<DynPollable>,)) -> wasmtime::Result<(bool,)> {
    let Some(tape) = store.data().tape.clone() else {
        return Ok((HostPollable::ready(table_of(&mut store), one).await?,));
    };
    let told = told(&tape, async {
        let is_ready = HostPollable::ready(table_of(&mut store), one).await?;
        Ok(Bytes::copy_from_slice(&[u8::from(is_ready)]))
    });
    Ok((told.await?.is_none_or(|told| told.first() == Some(&1)),))
}

/// Waits for one.
async fn block(mut store: StoreContextMut<'_, State>, (one,): (Resource<DynPollable>,)) -> wasmtime::Result<()> {
    let Some(tape) = store.data().tape.clone() else {
        return HostPollable::block(table_of(&mut store), one).await;
    };
    let wait = async { HostPollable::block(table_of(&mut store), one).await.map(|()| Bytes::new()) };
    told(&tape, wait).await.map(drop)
}

/// What came of a wait, or what the tape has of it. `None` where another version asks: all that it waits for is ready then.
async fn told(tape: &Tape, wait: impl Future<Output = wasmtime::Result<Bytes>>) -> wasmtime::Result<Option<Bytes>> {
    match tape.waited(&[]) {
        Some(waited) => match waited? {
            Waited::Stopped(text) => Err(wasmtime::Error::msg(text)),
            Waited::Told { happened: 0, .. } => Ok(None),
            Waited::Told { events, .. } => Ok(Some(events)),
        },
        None => {
            let outcome = wait.await;
            tape.keep_wait(match &outcome {
                Ok(events) => Waited::Told { errno: 0, happened: 1, events: events.clone() },
                Err(error) => Waited::Stopped(error.root_cause().to_string()),
            });
            outcome.map(Some)
        }
    }
}
