//! Headers and trailers that a guest makes: how large they may be, which is asked before they are copied, and what they take.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmList};
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{HeaderError, Host, HostFields};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView, WasiHttpView};

use super::bounds::FIELD_BYTES;
use super::content::of_value;
use super::growing::{filled, grown};
use crate::abi::component::define::Text;
use crate::abi::component::table::table_of;
use crate::abi::slots::State;

/// Most values in them: each counts with what it takes in the host.
const MAX_VALUES: usize = FIELD_BYTES / size_of::<http::HeaderValue>();

/// Names that fields have room for however few there are.
const SMALL: usize = 16;

type Made<T> = wasmtime::Result<(Result<T, HeaderError>,)>;

/// Defines the functions that make them, fill them or look into them, in place of wasmtime-wasi-http's, which copies each list and text
/// whole before it counts.
pub(super) fn shadow(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]fields.has",
        |mut store: StoreContextMut<'_, State>, (fields, name): (Resource<FieldMap>, Text)| {
            Ok((HostFields::has(&mut store.data_mut().http(), fields, name.into())?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.get",
        |mut store: StoreContextMut<'_, State>, (fields, name): (Resource<FieldMap>, Text)| {
            Ok((HostFields::get(&mut store.data_mut().http(), fields, name.into())?,))
        },
    )?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: StoreContextMut<'_, State>, (entries,): (WasmList<(Text, Vec<u8>)>,)| -> Made<Resource<FieldMap>> {
            let entries = copied(&mut store, &entries, |(name, value)| name.len().saturating_add(value.len()))?;
            let entries = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
            let mut http = store.data_mut().http();
            let made = HostFields::from_list(&mut http, entries);
            let made = answered(&mut http, made)?;
            if let (Ok(fields),) = &made {
                filled(&mut store, fields.rep())?;
            }
            Ok(made)
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: StoreContextMut<'_, State>,
         (fields, name, values): (Resource<FieldMap>, Text, WasmList<Vec<u8>>)|
         -> Made<()> {
            let (rep, values) = (fields.rep(), copied(&mut store, &values, Vec::len)?);
            let had_more = has_more(&mut store, rep);
            let mut http = store.data_mut().http();
            let set = HostFields::set(&mut http, fields, name.into(), values);
            let set = answered(&mut http, set)?;
            if set.0.is_ok() {
                shrink(&mut store, rep, had_more)?;
                filled(&mut store, rep)?;
            }
            Ok(set)
        },
    )?;
    types.func_wrap(
        "[method]fields.delete",
        |mut store: StoreContextMut<'_, State>, (fields, name): (Resource<FieldMap>, Text)| -> Made<()> {
            let rep = fields.rep();
            let had_more = has_more(&mut store, rep);
            let mut http = store.data_mut().http();
            let deleted = HostFields::delete(&mut http, fields, name.into());
            let deleted = answered(&mut http, deleted)?;
            if deleted.0.is_ok() {
                shrink(&mut store, rep, had_more)?;
            }
            Ok(deleted)
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: StoreContextMut<'_, State>,
         (fields, name, value): (Resource<FieldMap>, Text, Vec<u8>)|
         -> Made<()> {
            let bytes = of_value(name.len(), value.len());
            let mut http = store.data_mut().http();
            let appended = HostFields::append(&mut http, fields, name.into(), value);
            let appended = answered(&mut http, appended)?;
            grown(&mut store, bytes)?;
            Ok(appended)
        },
    )?;
    types.func_wrap(
        "[method]fields.clone",
        |mut store: StoreContextMut<'_, State>, (fields,): (Resource<FieldMap>,)| {
            let copy = HostFields::clone(&mut store.data_mut().http(), fields)?;
            filled(&mut store, copy.rep())?;
            Ok((copy,))
        },
    )
}

/// Do fields have several values of a name? Nobody says for how many there is room, once they are gone.
fn has_more(store: &mut StoreContextMut<'_, State>, fields: u32) -> bool {
    let fields = table_of(store).get(&Resource::<FieldMap>::new_borrow(fields));
    fields.is_ok_and(|fields| fields.len() > fields.keys_len())
}

/// Has fields that are fewer by now in as little room as they need: what was in them keeps its place otherwise. Before, they had several
/// values of a name, or not.
fn shrink(store: &mut StoreContextMut<'_, State>, fields: u32, had_more: bool) -> wasmtime::Result<()> {
    let WasiHttpCtxView { hooks, table, ctx: _ } = store.data_mut().http();
    let fields = table.get_mut(&Resource::<FieldMap>::new_borrow(fields))?;
    if !had_more && !fields.is_empty() && fields.capacity() <= SMALL.max(fields.keys_len().saturating_mul(4)) {
        return Ok(());
    }
    let mut fewer = FieldMap::new_mutable(FIELD_BYTES);
    for (name, value) in fields.iter() {
        // They were taken before.
        if fewer.append(&mut *hooks, name.to_string(), value.as_bytes().to_vec()).is_err() {
            return Ok(());
        }
    }
    *fields = fewer;
    Ok(())
}

/// The elements of a list that is none too long, of so many bytes each. They are counted as they are copied: all may be the same bytes of
/// the guest's.
///
/// # Errors
/// Stops a guest whose list has more than fits: so does wasmtime-wasi-http.
fn copied<T: wasmtime::component::Lift>(
    store: &mut StoreContextMut<'_, State>,
    list: &WasmList<T>,
    bytes: impl Fn(&T) -> usize,
) -> wasmtime::Result<Vec<T>> {
    let too_many = || wasmtime::Error::msg(format!("the guest made more than {FIELD_BYTES} bytes of headers"));
    if list.len() > MAX_VALUES {
        return Err(too_many());
    }
    let (mut all, mut left) = (Vec::with_capacity(list.len()), FIELD_BYTES);
    for element in list.iter(store)? {
        let element = element?;
        left = left.checked_sub(bytes(&element)).ok_or_else(too_many)?;
        all.push(element);
    }
    Ok(all)
}

fn answered<T>(http: &mut impl Host, made: HeaderResult<T>) -> Made<T> {
    match made {
        Ok(made) => Ok((Ok(made),)),
        Err(error) => Ok((Err(http.convert_header_error(error)?),)),
    }
}
