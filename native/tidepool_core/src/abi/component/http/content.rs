//! What is behind a guest's handles of `wasi:http`, in bytes of its function's account: fields, requests and responses that it has made, or
//! was given, and has not handed on. Not the first body, for which each call has room.

use std::collections::HashSet;

use http::HeaderMap;
use smallvec::SmallVec;
use tidepool_fields::{MORE_BYTES, NAME_BYTES, map_bytes};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};

use super::bounds::{BODY_BYTES, FIELD_BYTES, RECEIVED_BYTES, SENT_BYTES};
use crate::store::host_share::HostShare;

/// So much is nobody's; and what is held more than there is, at least, so that it is not counted again for each header.
const SPARE_BYTES: usize = 64 << 10;
/// Values of fields that are counted one by one; more of them have the bytes that fields may have.
const COUNTED: usize = 128;
/// What each handle takes.
const ENTRY_BYTES: usize = size_of::<HostOutgoingRequest>();
/// What the host's table keeps of each that is gone: it never gets shorter.
const FREE_ENTRY_BYTES: usize = 48;
/// What a table of a guest's has of each handle that was in it at once with others: those get no shorter, either.
const SLOT_BYTES: usize = 20;

/// What is behind a guest's handles, as it was counted last.
#[derive(Default)]
pub(in crate::abi::component) struct Content {
    share: Option<HostShare>,
    /// The bytes that are held.
    held: usize,
    /// No less than there is.
    bytes: usize,
    /// How often more was wanted.
    wanted: u64,
    /// How many entries the table has had at once: as far as pollables have needed them, for there are few of all else.
    most_entries: usize,
    /// What tables of the guest's may have of each of these, which may have been in all of them in turn.
    slot_bytes: usize,
    /// Requests that have come for the guest and that it has yet, by their numbers, with what their heads take: nobody else can look into
    /// these.
    requests: SmallVec<[(u32, usize); 1]>,
}

impl Content {
    /// Of a guest with so many tables of handles.
    pub(super) fn of(handle_tables: u64) -> Self {
        let tables = usize::try_from(handle_tables).unwrap_or(usize::MAX).max(1);
        Content { slot_bytes: SLOT_BYTES.saturating_mul(tables), ..Content::default() }
    }

    /// Notes that the table has had an entry with this number, the first of which is 0; what its place in the guest's tables takes.
    pub(in crate::abi::component) fn had(&mut self, entry: u32) -> usize {
        let entries = usize::try_from(entry).unwrap_or(usize::MAX).saturating_add(1);
        self.most_entries = self.most_entries.max(entries);
        self.slot_bytes
    }

    /// Notes a request that has come for the guest, and what its head takes. It may keep that for longer than its call.
    pub(super) fn came(&mut self, request: u32, bytes: usize, table: &ResourceTable) {
        self.requests.retain(|(other, _bytes)| *other != request && has_request(table, *other));
        self.requests.push((request, bytes));
    }

    /// Counts so many bytes more. What is to be held then, if that is more than is held.
    pub(super) fn grow(&mut self, bytes: usize, table: &mut ResourceTable) -> Option<usize> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.held.max(SPARE_BYTES) { None } else { self.recount(table) }
    }

    /// Counts what there is, for some of what was counted is gone. What is to be held then, if that is more than is held.
    fn recount(&mut self, table: &mut ResourceTable) -> Option<usize> {
        let (bytes, entries) = of_table(table);
        let free = self.most_entries.saturating_sub(entries).saturating_mul(FREE_ENTRY_BYTES);
        let slots = self.most_entries.saturating_mul(self.slot_bytes);
        self.requests.retain(|(request, _bytes)| has_request(table, *request));
        let heads = self.requests.iter().map(|(_request, bytes)| *bytes).fold(0, usize::saturating_add);
        self.bytes = [free, slots, heads].into_iter().fold(bytes, usize::saturating_add);
        let spare = SPARE_BYTES.max(self.bytes / 8);
        let wanted = if self.bytes <= SPARE_BYTES { 0 } else { self.bytes.saturating_add(spare) };
        if wanted > self.held {
            return Some(wanted);
        }
        self.held = wanted;
        if let Some(share) = &mut self.share {
            share.lower_to(wanted);
        }
        None
    }

    /// Gives back what is not there any more.
    pub(in crate::abi::component) fn settle(&mut self, table: &mut ResourceTable) {
        if self.held > 0 {
            // More is asked for when the guest makes more.
            let _more = self.recount(table);
        }
    }

    /// The share, to be raised; and how often that was so.
    pub(super) fn raised(&mut self) -> (Option<HostShare>, u64) {
        let nth = self.wanted;
        self.wanted += 1;
        (self.share.take(), nth)
    }

    /// Has a share of so many bytes.
    pub(super) fn hold(&mut self, share: HostShare, bytes: usize) {
        (self.share, self.held) = (Some(share), bytes);
    }
}

/// Is there this request?
fn has_request(table: &ResourceTable, request: u32) -> bool {
    table.get(&Resource::<HostIncomingRequest>::new_borrow(request)).is_ok()
}

/// What is in a table, and how many entries that is.
fn of_table(table: &mut ResourceTable) -> (usize, usize) {
    let (mut sum, mut entries) = (Sum::default(), 0);
    for entry in table.iter_mut() {
        entries += 1;
        if let Some(fields) = entry.downcast_ref::<FieldMap>() {
            sum.fields(fields);
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            sum.fields(&request.headers);
            sum.bytes = sum.bytes.saturating_add(of_texts(request));
            sum.outgoing += usize::from(request.body.is_some());
        } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            sum.fields(&response.headers);
            sum.outgoing += usize::from(response.body.is_some());
        } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            sum.fields(&response.headers);
            sum.incoming += usize::from(response.body.is_some());
        } else if let Some(response) = entry.downcast_ref::<HostFutureIncomingResponse>() {
            let is_under_way = !matches!(response, HostFutureIncomingResponse::Consumed);
            sum.bytes = sum.bytes.saturating_add(if is_under_way { SENT_BYTES } else { 0 });
        } else if let Some(trailers) = entry.downcast_ref::<HostFutureTrailers>() {
            match trailers {
                HostFutureTrailers::Done(Ok(Some(fields))) => sum.fields(fields),
                HostFutureTrailers::Waiting(_) => sum.incoming += 1,
                HostFutureTrailers::Done(_) | HostFutureTrailers::Consumed => {}
            }
        } else {
            sum.incoming += usize::from(entry.is::<HostIncomingBody>());
        }
        sum.bytes = sum.bytes.saturating_add(ENTRY_BYTES);
    }
    let outgoing = sum.outgoing.saturating_sub(1).saturating_mul(BODY_BYTES);
    let incoming = sum.incoming.saturating_sub(1).saturating_mul(RECEIVED_BYTES);
    (sum.bytes.saturating_add(outgoing).saturating_add(incoming), entries)
}

/// What there is, as far as it was looked at.
#[derive(Default)]
struct Sum {
    bytes: usize,
    /// Bodies that the guest has begun, and those that it may read.
    outgoing: usize,
    incoming: usize,
    /// Fields that were counted: several handles may have the same.
    seen: HashSet<usize>,
}

impl Sum {
    fn fields(&mut self, fields: &HeaderMap) {
        if fields.capacity() > 0 && self.seen.insert(std::ptr::from_ref(fields).addr()) {
            self.bytes = self.bytes.saturating_add(of_fields(fields));
        }
    }
}

fn of_texts(request: &HostOutgoingRequest) -> usize {
    let method = if let Method::Other(method) = &request.method { method.len() } else { 0 };
    let scheme = if let Some(Scheme::Other(scheme)) = &request.scheme { scheme.len() } else { 0 };
    let texts = [&request.authority, &request.path_with_query].map(|text| text.as_ref().map_or(0, String::len));
    texts.iter().sum::<usize>().saturating_add(method + scheme)
}

/// What fields take, those included that were in them.
pub(super) fn of_fields(fields: &HeaderMap) -> usize {
    let texts = match fields.len() {
        count if count > COUNTED => FIELD_BYTES,
        _ => fields.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len())).sum(),
    };
    map_bytes(fields).saturating_add(texts)
}

/// What the head of a request takes at most. It goes by what is in the map, which has room for less than twice as much
/// ([`Exchange::new`](crate::base::request::exchange::Exchange::new)): how much that is may be another in a replay.
pub(super) fn of_request<B>(request: &http::Request<B>) -> usize {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter();
    let texts = fields.map(|(name, value)| name.as_str().len().saturating_add(value.len()));
    let fields = texts.map(|texts| texts.saturating_add(2 * NAME_BYTES)).fold(0, usize::saturating_add);
    // The authority is there twice.
    [authority, authority, path, request.method().as_str().len()].into_iter().fold(fields, usize::saturating_add)
}

/// What one more value takes at most, with its name.
pub(super) fn of_value(name_bytes: usize, value_bytes: usize) -> usize {
    name_bytes.saturating_add(value_bytes).saturating_add(NAME_BYTES + MORE_BYTES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use wasmtime_wasi_http::{Error, WasiHttpCtx, WasiHttpCtxView};

    use super::super::outgoing::Hooks;
    use super::*;

    /// A request that has come, and what is to be held then.
    fn came(content: &mut Content, table: &mut ResourceTable) -> (Resource<HostIncomingRequest>, Option<usize>) {
        let body = Empty::<Bytes>::new().map_err(|never| -> Error { match never {} });
        let request = http::Request::get("http://there.test/").header("x-wide", "v".repeat(40_000)).body(body).unwrap();
        let bytes = of_request(&request);
        let (mut ctx, mut hooks) = (WasiHttpCtx::new(), Hooks::default());
        let mut http = WasiHttpCtxView { hooks: &mut hooks, table: &mut *table, ctx: &mut ctx };
        let request = http.new_incoming_request(Scheme::Http, request).unwrap();
        content.came(request.rep(), bytes, table);
        (request, content.grow(bytes, table))
    }

    #[test]
    fn requests_that_a_guest_keeps_over_its_calls_count_until_it_has_dropped_them() {
        let (mut content, mut table) = (Content::of(1), ResourceTable::new());
        let (first, wanted) = came(&mut content, &mut table);
        assert_eq!(wanted, None, "one has room, as a call has");
        let (second, wanted) = came(&mut content, &mut table);
        assert!(wanted.is_some_and(|bytes| bytes > 80_000), "{wanted:?}");
        // Of those that it drops nothing is left, however many there were.
        for request in [first, second] {
            table.delete(request).unwrap();
        }
        for _call in 0..100 {
            let (request, wanted) = came(&mut content, &mut table);
            assert_eq!(wanted, None);
            table.delete(request).unwrap();
        }
    }
}
