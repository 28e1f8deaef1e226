//! Addresses, as guests give and get them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use wasmtime::Caller;

use crate::abi::lunatic::support::{OK, failed, handle, put, trap};
use crate::abi::memory;
use crate::abi::slots::State;

/// An address as five arguments: its type, where its 4 or 16 bytes are, port, flow information and scope.
pub(super) type Given = (i32, i32, i32, i32, i32);

/// The address that is given.
///
/// # Errors
/// Traps the guest for another type than 4 and 6, a port of more than 16 bits, and bytes that aren't within its memory.
pub(super) fn read(caller: &mut Caller<'_, State>, given: Given) -> wasmtime::Result<SocketAddr> {
    let (kind, ptr, port, flow, scope) = given;
    let Ok(port) = u16::try_from(port) else {
        return Err(trap(caller, format!("the guest gave {} for a port", port.cast_unsigned())));
    };
    match kind {
        4 => {
            let bytes: [u8; 4] = bytes(caller, ptr)?;
            Ok(SocketAddr::V4(SocketAddrV4::new(bytes.into(), port)))
        }
        6 => {
            let bytes: [u8; 16] = bytes(caller, ptr)?;
            let (flow, scope) = (flow.cast_unsigned(), scope.cast_unsigned());
            Ok(SocketAddr::V6(SocketAddrV6::new(bytes.into(), port, flow, scope)))
        }
        _ => Err(trap(caller, format!("the guest gave {kind} for an address's type, which is 4 or 6"))),
    }
}

fn bytes<const N: usize>(caller: &mut Caller<'_, State>, ptr: i32) -> wasmtime::Result<[u8; N]> {
    let memory = memory::memory(caller)?;
    let mut bytes = [0; N];
    match memory.read(&*caller, memory::unsigned(ptr), &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_outside) => Err(memory::bad_pointer(caller, ptr, N)),
    }
}

/// A handle for addresses that the guest gets one by one.
///
/// # Errors
/// Traps a guest that has too many.
pub(super) fn iterator(
    caller: &mut Caller<'_, State>,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> wasmtime::Result<u64> {
    let mut addresses: VecDeque<SocketAddr> = addresses.into_iter().collect();
    addresses.shrink_to_fit();
    handle(caller, |data| &mut data.sockets.addresses, addresses)
}

/// Ends an import whose out value is a handle of one address, or an error's.
///
/// # Errors
/// Traps the guest when the place isn't within its memory, or when it has too many.
pub(super) fn one(
    caller: &mut Caller<'_, State>,
    ptr: i32,
    address: std::io::Result<SocketAddr>,
) -> wasmtime::Result<i32> {
    match address {
        Ok(address) => {
            let iterator = iterator(caller, [address])?;
            put(caller, ptr, iterator)?;
            Ok(OK)
        }
        Err(error) => failed(caller, ptr, error.to_string()),
    }
}

/// Where the parts of an address go: its type, its 4 or 16 bytes, port, flow information and scope.
pub(super) type Places = (i32, i32, i32, i32, i32);

/// Writes an address to where the guest wants its parts.
///
/// # Errors
/// Traps the guest when one of the places isn't within its memory.
pub(super) fn write(caller: &mut Caller<'_, State>, places: Places, address: SocketAddr) -> wasmtime::Result<()> {
    let (kind, bytes, port, flow, scope) = places;
    let (number, flow_info, scope_id): (u32, u32, u32) = match address {
        SocketAddr::V4(_) => (4, 0, 0),
        SocketAddr::V6(address) => (6, address.flowinfo(), address.scope_id()),
    };
    memory::write(caller, kind, &number.to_le_bytes())?;
    match address.ip() {
        IpAddr::V4(ip) => memory::write(caller, bytes, &ip.octets())?,
        IpAddr::V6(ip) => memory::write(caller, bytes, &ip.octets())?,
    }
    memory::write(caller, port, &address.port().to_le_bytes())?;
    memory::write(caller, flow, &flow_info.to_le_bytes())?;
    memory::write(caller, scope, &scope_id.to_le_bytes())
}
