//! More behind a guest's handles of `wasi:http`, which its function's account is to have room for.

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::types::HostIncomingRequest;

use super::bounds::RECEIVED_BYTES;
use super::content::of_fields;
use crate::abi::component::table::table_of;
use crate::abi::slots::State;
use crate::base::limits::Limit;
use crate::store::host_share::HostShare;

/// Counts fields that are new.
///
/// # Errors
/// Stops the guest when there is no room for them.
pub(super) fn filled(store: &mut StoreContextMut<'_, State>, fields: u32) -> wasmtime::Result<()> {
    let fields = table_of(store).get(&Resource::<FieldMap>::new_borrow(fields));
    let bytes = fields.map_or(0, |fields| of_fields(fields));
    grown(store, bytes)
}

/// Counts the head of a request that has come for the guest, for as long as the guest has that.
///
/// # Errors
/// Stops the guest when there is no room for it.
pub(super) fn came(
    store: &mut StoreContextMut<'_, State>,
    request: &Resource<HostIncomingRequest>,
    bytes: usize,
) -> wasmtime::Result<()> {
    let context = store.data_mut().component_context();
    context.http.content.came(request.rep(), bytes, &context.table);
    grown(store, bytes)
}

/// Counts what has come for the guest: a head, or trailers.
///
/// # Errors
/// Stops the guest when there is no room for them.
pub(in crate::abi::component) fn received(store: &mut StoreContextMut<'_, State>) -> wasmtime::Result<()> {
    grown(store, RECEIVED_BYTES)
}

/// Counts so many bytes more. What was refused is on the tape.
///
/// # Errors
/// Stops the guest when there is no room for them, or was none where its call is replayed.
pub(in crate::abi::component) fn grown(store: &mut StoreContextMut<'_, State>, bytes: usize) -> wasmtime::Result<()> {
    let context = store.data_mut().component_context();
    let Some(wanted) = context.http.content.grow(bytes, &mut context.table) else { return Ok(()) };
    let (share, nth) = context.http.content.raised();
    let state = store.data_mut();
    let mut share = share.unwrap_or_else(|| HostShare::new(&state.function));
    let mut refused = || !share.raise_to(wanted);
    let is_refused = match &state.tape {
        Some(tape) => tape.refuses_hold(nth, refused),
        None => refused(),
    };
    if is_refused {
        state.meter.denied = Some(Limit::TotalMemory);
        return Err(wasmtime::Error::msg(
            "there is no room on the host for the headers and bodies that the guest has there",
        ));
    }
    state.component_context().http.content.hold(share, wanted);
    Ok(())
}
