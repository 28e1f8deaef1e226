//! The functions of `wasi:http/types` by which guests get streams, trailers and responses that come when they come.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, Pollable};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::HostFutureIncomingResponse;

use super::streams::{Read, Written, broken, told};
use crate::abi::component::http::received;
use crate::abi::slots::State;
use crate::recording::exchange::streams::{Said, Stream};

pub(super) fn define(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]incoming-body.stream",
        |mut store: StoreContextMut<'_, State>, (body,): (Resource<HostIncomingBody>,)| {
            let state = store.data_mut();
            let Some(reel) = state.reel() else {
                return Ok((types::HostIncomingBody::stream(&mut state.http(), body)?,));
            };
            let table = state.http().table;
            let Some(stream) = table.get_mut(&body)?.take_stream() else { return Ok((Err(()),)) };
            let stream: DynInputStream = Box::new(Read(Box::new(stream), reel));
            Ok((Ok(table.push_child(stream, &body)?),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-body.write",
        |mut store: StoreContextMut<'_, State>, (body,): (Resource<HostOutgoingBody>,)| {
            let state = store.data_mut();
            let Some(reel) = state.reel() else {
                return Ok((types::HostOutgoingBody::write(&mut state.http(), body)?,));
            };
            let table = state.http().table;
            let Some(stream) = table.get_mut(&body)?.take_output_stream() else { return Ok((Err(()),)) };
            let stream: DynOutputStream = Box::new(Written(stream, reel));
            Ok((Ok(table.push_child(stream, &body)?),))
        },
    )?;
    types.func_wrap(
        "[method]future-trailers.get",
        |mut store: StoreContextMut<'_, State>, (trailers,): (Resource<HostFutureTrailers>,)| {
            let state = store.data_mut();
            trailers_of(state, &trailers)?;
            let trailers = types::HostFutureTrailers::get(&mut state.http(), trailers)?;
            received(&mut store)?;
            Ok((trailers,))
        },
    )?;
    types.func_wrap_async(
        "[method]future-incoming-response.get",
        |mut store: StoreContextMut<'_, State>, (response,): (Resource<HostFutureIncomingResponse>,)| {
            Box::new(async move {
                if !awaited(store.data_mut(), &response).await? {
                    return Ok((None,));
                }
                let response = types::HostFutureIncomingResponse::get(&mut store.data_mut().http(), response)?;
                received(&mut store)?;
                Ok((response,))
            })
        },
    )
}

/// Notes on the tape what there is of trailers, or takes from there what there is.
fn trailers_of(state: &mut State, trailers: &Resource<HostFutureTrailers>) -> wasmtime::Result<()> {
    let Some(tape) = state.tape.clone() else { return Ok(()) };
    let trailers = state.http().table.get_mut(trailers)?;
    if matches!(trailers, HostFutureTrailers::Consumed) {
        return Ok(());
    }
    let Some(said) = tape.said(Stream::Trailers, 0) else {
        tape.keep_said(Stream::Trailers, || match trailers {
            HostFutureTrailers::Done(Ok(Some(trailers))) => Said::Trailers(trailers.clone()),
            HostFutureTrailers::Done(Ok(None)) => Said::Closed,
            HostFutureTrailers::Done(Err(error)) => Said::Broken(broken(error)),
            HostFutureTrailers::Waiting(_) | HostFutureTrailers::Consumed => Said::Number(0),
        });
        return Ok(());
    };
    let done = match said? {
        Said::Trailers(trailers) => Ok(Some(trailers)),
        Said::Closed => Ok(None),
        Said::Broken(why) => Err(told(why)),
        Said::Number(_) | Said::Bytes(_) | Said::Stopped(_) => return Ok(()),
    };
    *trailers = HostFutureTrailers::Done(done);
    Ok(())
}

/// Is the response to a request there, as the tape has it? Those that are on one are refused, each time.
async fn awaited(state: &mut State, response: &Resource<HostFutureIncomingResponse>) -> wasmtime::Result<bool> {
    let Some(tape) = state.tape.clone() else { return Ok(true) };
    let response = state.http().table.get_mut(response)?;
    let is_there = match response {
        HostFutureIncomingResponse::Consumed => return Ok(true),
        HostFutureIncomingResponse::Pending(_) => 0,
        HostFutureIncomingResponse::Ready(_) => 1,
    };
    match tape.said(Stream::Awaited, 0).transpose()? {
        Some(Said::Number(0)) => return Ok(false),
        Some(_there) => response.ready().await,
        None if tape.is_playing() => response.ready().await,
        None => tape.keep_said(Stream::Awaited, || Said::Number(is_there)),
    }
    Ok(true)
}
