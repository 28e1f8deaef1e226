//! What is behind a guest's handles of `wasi:http`, in bytes of its function's account: fields, requests and responses that it has made,
//! and has not handed on. Not its first body, for which each call has room.

use http::HeaderValue;
use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};

use super::bounds::{BODY_BYTES, FIELD_BYTES};
use crate::abi::component::table::table_of;
use crate::abi::slots::State;
use crate::store::host_share::HostShare;

/// What is held more than there is, so that it is not counted again for each header.
const SPARE_BYTES: usize = 64 << 10;
/// Values of fields that are counted one by one; those that have more count as the most that they may have.
const COUNTED: usize = 16;

/// What a guest has, as it was counted last.
#[derive(Default)]
pub(in crate::abi::component) struct Content {
    share: Option<HostShare>,
    /// The bytes that are held.
    held: usize,
    /// No less than there is.
    bytes: usize,
}

/// Counts the bytes that fields have by now.
///
/// # Errors
/// Stops the guest when there is no room for them.
pub(super) fn filled(store: &mut StoreContextMut<'_, State>, fields: u32) -> wasmtime::Result<()> {
    let bytes = table_of(store).get(&Resource::<FieldMap>::new_borrow(fields)).map_or(0, of_fields);
    grown(store, bytes)
}

/// Counts so many bytes more.
///
/// # Errors
/// Stops the guest when there is no room for them.
pub(super) fn grown(store: &mut StoreContextMut<'_, State>, bytes: usize) -> wasmtime::Result<()> {
    let context = store.data_mut().component_context();
    let content = &mut context.http.content;
    content.bytes = content.bytes.saturating_add(bytes);
    if content.bytes <= content.held.max(SPARE_BYTES) {
        return Ok(());
    }
    // Some of what was counted is gone by now.
    content.bytes = of_table(&mut context.table);
    let wanted = content.bytes.saturating_add(SPARE_BYTES);
    if wanted <= content.held && wanted >= content.held / 2 {
        return Ok(());
    }
    let mut share = content.share.take();
    if wanted < content.held {
        share = None;
    }
    let held = store.data_mut().hold_on_host(&mut share, wanted);
    let content = &mut store.data_mut().component_context().http.content;
    content.share = share;
    if held.is_ok() {
        content.held = wanted;
    }
    held
}

/// What is in a table.
fn of_table(table: &mut ResourceTable) -> usize {
    let (mut bytes, mut bodies) = (0_usize, 0_usize);
    for entry in table.iter_mut() {
        let (own, body) = if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            (of_fields(fields), false)
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            (of_request(request), request.body.is_some())
        } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            (of_fields(&response.headers), response.body.is_some())
        } else {
            continue;
        };
        bytes = bytes.saturating_add(own).saturating_add(size_of::<HostOutgoingRequest>());
        bodies = bodies.saturating_add(usize::from(body));
    }
    bytes.saturating_add(bodies.saturating_sub(1).saturating_mul(BODY_BYTES))
}

fn of_request(request: &HostOutgoingRequest) -> usize {
    let method = if let Method::Other(method) = &request.method { method.len() } else { 0 };
    let scheme = if let Some(Scheme::Other(scheme)) = &request.scheme { scheme.len() } else { 0 };
    let texts = [&request.authority, &request.path_with_query].map(|text| text.as_ref().map_or(0, String::len));
    of_fields(&request.headers).saturating_add(method + scheme).saturating_add(texts.iter().sum())
}

fn of_fields(fields: &FieldMap) -> usize {
    match fields.len() {
        count if count > COUNTED => FIELD_BYTES,
        _ => fields.iter().map(|(name, value)| name.as_str().len() + value.len() + size_of::<HeaderValue>()).sum(),
    }
}
