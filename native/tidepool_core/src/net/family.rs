//! Sockets of one family of addresses: those of IPv6 take nothing of IPv4, as `wasi:sockets` has them, and as a grant for `[::]` says.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// How many connections wait to be accepted at most; the system may have less.
pub(super) const BACKLOG: i32 = 4096;

/// A socket that has an address, and doesn't block. An address of IPv4 that is written as one of IPv6 is of IPv4.
///
/// # Errors
/// What the system says.
pub(super) fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections of one before may still be closing.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
