//! Listening sockets, several on one port.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::error::InputError;

/// `count` listeners on one port; the kernel deals the connections out among them. Port 0 takes a free one for all.
pub(super) fn tcp(addr: SocketAddr, count: usize, backlog: i32) -> Result<(SocketAddr, Vec<TcpListener>), InputError> {
    let mut bound = addr;
    let mut listeners = Vec::new();
    for _ in 0..count.max(1) {
        let listener = prepared(bound, Type::STREAM)
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                socket.listen(backlog)?;
                Ok(TcpListener::from(socket))
            })
            .map_err(|source| InputError::Listen { addr, source })?;
        bound = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok((bound, listeners))
}

/// `count` datagram sockets on one port. The kernel deals the flows out among them.
pub(super) fn udp(addr: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<UdpSocket>), InputError> {
    let mut bound = addr;
    let mut sockets = Vec::new();
    for _ in 0..count.max(1) {
        let socket = prepared(bound, Type::DGRAM)
            .map(|socket| {
                // As much as the system allows; less only means that a burst is lost sooner.
                drop(socket.set_recv_buffer_size(4 << 20));
                UdpSocket::from(socket)
            })
            .map_err(|source| InputError::Listen { addr, source })?;
        bound = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok((bound, sockets))
}

fn prepared(addr: SocketAddr, kind: Type) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
