//! Requests of HTTP by guests of any ABI: to servers that are granted, and to other functions without a socket.
//!
//! `http://NAME.internal` is the function NAME, and `http://NAME.NAMESPACE.internal` the one of a guest's own namespace. It is called
//! as host callbacks call functions: by the same grant, `tidepool/function/NAME`, nested as deep as calls may be, within the caller's
//! time.

pub(super) mod asked;
pub(super) mod awaited;
pub(super) mod denied;
pub(super) mod grants;
pub(super) mod trace;
