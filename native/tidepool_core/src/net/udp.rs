//! UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::Interest;

use super::access::Access;
use super::error::NetError;
use super::quota::Place;
use super::reactor::Registered;
use super::ready::{Ready, Wait, try_socket};
use super::stream::{Tried, tried};
use crate::base::grants::{Direction, Protocol, Wanted};

/// A socket for datagrams.
pub(crate) struct UdpSocket {
    socket: Registered<std::net::UdpSocket>,
    _place: Place,
}

impl UdpSocket {
    /// # Errors
    /// When it isn't granted, there are too many sockets, or the system says so.
    pub(crate) fn bind(access: &Access, address: SocketAddr) -> Result<Self, NetError> {
        let place = access.place(Protocol::Udp, Direction::Listen, address)?;
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket { socket: access.reactor().register(socket)?, _place: place })
    }

    /// Has it send to this address, and receive from it alone.
    ///
    /// # Errors
    /// When it isn't granted, or the system says so.
    pub(crate) fn connect(&self, access: &Access, address: SocketAddr) -> Result<(), NetError> {
        check(access, address)?;
        Ok(self.socket.socket().connect(address)?)
    }

    /// Sends a datagram to where it is connected to.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> Result<Tried<usize>, NetError> {
        tried(self.socket.try_io(Interest::WRITABLE, |socket| socket.send(bytes)), Interest::WRITABLE)
    }

    /// # Errors
    /// When it isn't granted, or the system says so.
    pub(crate) fn try_send_to(
        &self,
        access: &Access,
        bytes: &[u8],
        address: SocketAddr,
    ) -> Result<Tried<usize>, NetError> {
        check(access, address)?;
        tried(self.socket.try_io(Interest::WRITABLE, |socket| socket.send_to(bytes, address)), Interest::WRITABLE)
    }

    /// Receives a datagram, of which as much as there is room for.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn try_receive(&self, bytes: &mut [u8]) -> Result<Tried<(usize, SocketAddr)>, NetError> {
        tried(self.socket.try_io(Interest::READABLE, |socket| socket.recv_from(bytes)), Interest::READABLE)
    }

    /// Waits until it may be tried again. Many may wait at once.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket().local_addr()
    }

    /// # Errors
    /// [`io::ErrorKind::NotConnected`], for one.
    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket().peer_addr()
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.socket().set_ttl(ttl)
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn ttl(&self) -> io::Result<u32> {
        self.socket.socket().ttl()
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.socket().set_broadcast(broadcast)
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn broadcast(&self) -> io::Result<bool> {
        self.socket.socket().broadcast()
    }
}

impl Ready for UdpSocket {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        try_socket(self.socket.socket(), interest, |look| self.socket.try_io(interest, |_| look()))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

fn check(access: &Access, address: SocketAddr) -> Result<(), NetError> {
    access.check(Wanted::Address(Protocol::Udp, Direction::Connect, address))
}
