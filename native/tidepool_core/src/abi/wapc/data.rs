//! Data of waPC in a guest's store.

use wasmtime::TypedFunc;

use crate::base::request::HostReply;
use crate::store::host_share::HostShare;

/// The slot of waPC: all but the entry belongs to one call.
#[derive(Default)]
pub(crate) struct WapcSlot {
    /// `__guest_call`: lengths of operation and payload to a code. Taken out while it runs.
    pub(super) entry: Option<TypedFunc<(i32, i32), i32>>,
    pub(super) reply: Option<Vec<u8>>,
    /// What that is counted as.
    pub(super) reply_share: Option<HostShare>,
    pub(super) guest_error: Option<Vec<u8>>,
    pub(super) host_reply: Option<HostReply>,
    /// What that is counted as.
    pub(super) host_share: Option<HostShare>,
}
