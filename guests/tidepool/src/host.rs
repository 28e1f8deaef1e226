//! The imports.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lunatic::host::api::networking;
use lunatic::LunaticError;

/// What an import says that succeeded, and one whose time was over.
pub const OK: u32 = 0;
pub const TIMED_OUT: u32 = 9027;
/// What those of names say beside.
pub const TAKEN: u32 = 1;
pub const NO_PROCESS: u32 = 2;
pub const FULL: u32 = 3;

#[link(wasm_import_module = "tidepool")]
extern "C" {
    pub fn wait(entries: *mut u8, count: u32, timeout_ms: u64) -> u32;
    pub fn udp_receive_from(
        socket: u64,
        buffer: *mut u8,
        len: u32,
        count: *mut u64,
        from: *mut u64,
        timeout_ms: u64,
    ) -> u32;
    pub fn tcp_accept(listener: u64, stream: *mut u64, peer: *mut u64, timeout_ms: u64) -> u32;
    pub fn push_tcp_listener(listener: u64) -> u64;
    pub fn take_tcp_listener(index: u64) -> u64;
    pub fn try_send(process: u64) -> u32;
    pub fn put_name(name: *const u8, len: u32, node: u64, process: u64) -> u32;
    pub fn claim_name(
        name: *const u8,
        len: u32,
        node: u64,
        process: u64,
        owner_node: *mut u64,
        owner: *mut u64,
    ) -> u32;
    pub fn get_name(name: *const u8, len: u32, node: *mut u64, process: *mut u64) -> u32;
    pub fn remove_name(name: *const u8, len: u32) -> u32;
    pub fn accept_upgrades(tag: i64);
    #[link_name = "upgrade"]
    pub fn become_newest(error: *mut u64) -> u32;
    pub fn inherit() -> u32;
}

/// The text of an error that an import has given a handle of.
pub fn error(handle: u64) -> Error {
    Error::new(ErrorKind::Other, LunaticError::Error(handle).to_string())
}

/// The one address of an iterator that an import has given a handle of.
pub fn address(iterator: u64) -> Option<SocketAddr> {
    let (mut kind, mut ip, mut port, mut flow, mut scope) = (0, [0_u8; 16], 0, 0, 0);
    // SAFETY: each pointer is to what outlives the call, of the size that the host writes.
    let found = unsafe {
        let found =
            networking::resolve_next(iterator, &mut kind, ip.as_mut_ptr(), &mut port, &mut flow, &mut scope);
        networking::drop_dns_iterator(iterator);
        found
    };
    if found != OK {
        return None;
    }
    let ip = match kind {
        4 => IpAddr::from([ip[0], ip[1], ip[2], ip[3]]),
        _ => IpAddr::from(ip),
    };
    Some(SocketAddr::new(ip, port))
}

/// A time-out in ms, as the host takes it; none is for ever.
pub fn ms(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |timeout| timeout.as_millis().min(u128::from(u64::MAX)) as u64)
}
