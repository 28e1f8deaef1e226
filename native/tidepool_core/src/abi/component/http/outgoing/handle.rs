//! The function `handle`, which sends a request. It has the host asked where another function is to serve that.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, Host as _, IoError, Method, Scheme};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{RequestOptions, WasiHttp};

use super::errors;
use super::heads::{GivenMethod, GivenScheme};
use super::hooks::{Outward, Way};
use crate::abi::component::define::{Text, shadowing};
use crate::abi::component::http::bounds::{BODY_BYTES, SENT_BYTES};
use crate::abi::component::http::fields;
use crate::abi::component::http::growing::grown;
use crate::abi::outgoing::grants;
use crate::abi::slots::State;

/// The interface, as the linker knows it for all minor versions.
const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

/// The interface of what it deals in.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Longest method, longest authority, and longest path with its query, of a request of a guest's.
const METHOD_BYTES: usize = 64;
const AUTHORITY_BYTES: usize = 1_024;
const PATH_BYTES: usize = 16 << 10;

type Params = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Handled = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

/// Defines the interfaces of `wasi:http`.
pub(in crate::abi::component) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), State::http)?;
    linker.instance(INTERFACE)?.func_wrap_async("handle", |store, params: Params| {
        Box::new(async move { handle(store, params).await.map(|handled| (handled,)) })
    })?;
    shadowing(linker, |linker| shadow(&mut linker.instance(TYPES)?))
}

/// Defines functions in place of wasmtime-wasi-http's: one that finds no code of a body's error, those that keep as much
/// for a guest as it says, and those that copy as much.
fn shadow(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    fields::shadow(types)?;
    types.func_wrap("http-error-code", |mut store: StoreContextMut<'_, State>, (error,): (Resource<IoError>,)| {
        let error = store.data_mut().http().table.get(&error)?;
        Ok((error.downcast_ref().map(errors::code).or_else(|| error.downcast_ref::<ErrorCode>().cloned()),))
    })?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Resource<HostOutgoingRequest>, GivenMethod)| {
            let method = Method::from(method);
            if matches!(&method, Method::Other(method) if method.len() > METHOD_BYTES) {
                return Ok((Err(()),));
            }
            Ok((types::HostOutgoingRequest::set_method(&mut store.data_mut().http(), request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, State>,
         (request, scheme): (Resource<HostOutgoingRequest>, Option<GivenScheme>)| {
            let mut http = store.data_mut().http();
            Ok((types::HostOutgoingRequest::set_scheme(&mut http, request, scheme.map(Scheme::from))?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, authority): (Resource<HostOutgoingRequest>, Option<Text>)| {
            let authority = authority.map(String::from);
            let bytes = authority.as_ref().map_or(0, String::len);
            if bytes > AUTHORITY_BYTES {
                return Ok((Err(()),));
            }
            let set = types::HostOutgoingRequest::set_authority(&mut store.data_mut().http(), request, authority)?;
            grown(&mut store, bytes)?;
            Ok((set,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, State>, (request, path): (Resource<HostOutgoingRequest>, Option<Text>)| {
            let path = path.map(String::from);
            let bytes = path.as_ref().map_or(0, String::len);
            if bytes > PATH_BYTES {
                return Ok((Err(()),));
            }
            let set = types::HostOutgoingRequest::set_path_with_query(&mut store.data_mut().http(), request, path)?;
            grown(&mut store, bytes)?;
            Ok((set,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: StoreContextMut<'_, State>, (request,): (Resource<HostOutgoingRequest>,)| {
            let body = types::HostOutgoingRequest::body(&mut store.data_mut().http(), request)?;
            grown(&mut store, BODY_BYTES)?;
            Ok((body,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, State>, (response,): (Resource<HostOutgoingResponse>,)| {
            let body = types::HostOutgoingResponse::body(&mut store.data_mut().http(), response)?;
            grown(&mut store, BODY_BYTES)?;
            Ok((body,))
        },
    )
}

/// Sends a request; what comes of it is the guest's to wait for.
///
/// # Errors
/// Stops a guest that gives what it does not have.
async fn handle(mut store: StoreContextMut<'_, State>, (request, options): Params) -> wasmtime::Result<Handled> {
    let state = store.data_mut();
    let way = way(state, &request)?;
    state.component_context().http.hooks.next = way;
    let mut http = state.http();
    let lent = options.as_ref().map(|options| Resource::new_borrow(options.rep()));
    let handled = match http.handle(request, lent) {
        Ok(response) => Ok(response),
        Err(error) => Err(http.convert_error_code(error)?),
    };
    // They were given, and would stay for as long as the instance does.
    if let Some(options) = options {
        http.table.delete(options)?;
    }
    let next = std::mem::take(&mut state.component_context().http.hooks.next);
    grown(&mut store, SENT_BYTES)?;
    if let Way::Ask(asked) = next {
        grants::ask(&mut store, asked).await;
    }
    Ok(handled)
}

/// Where a request goes.
fn way(state: &mut State, request: &Resource<HostOutgoingRequest>) -> wasmtime::Result<Way> {
    let HostOutgoingRequest { scheme, authority, .. } = state.http().table.get(request)?;
    let (authority, is_plain) = (authority.clone(), matches!(scheme, Some(Scheme::Http)));
    // By another scheme, or at a port, it is a server of that name.
    let host = authority.as_deref().filter(|_host| is_plain);
    let function = host.and_then(|host| grants::function(state, host));
    Ok(match (function, grants::access(state)) {
        (Some(function), _) if grants::may_call(state, &function) => Way::In(function),
        (None, Some(access)) => {
            let trace = state.call.as_ref().and_then(|call| call.channel.trace().cloned());
            let is_process = state.abi.guest.is_some();
            Way::Out(Outward { access, function: Arc::clone(&state.function), trace, is_process })
        }
        (function, _) => {
            let server = (authority.as_deref().unwrap_or_default(), is_plain);
            grants::print_denial(state, function.as_deref(), server);
            Way::Denied
        }
    })
}

impl State {
    /// Ends the requests that the guest has left unfinished in a call that is over.
    pub(in crate::abi::component) fn end_requests(&mut self) {
        if let Some(context) = &mut self.abi.component.context {
            context.http.hooks.end();
        }
    }
}
