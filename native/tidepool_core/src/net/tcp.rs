//! TCP.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol as Transport, Type};
use tokio::io::Interest;

use super::access::Access;
use super::error::NetError;
use super::quota::Place;
use super::reactor::{CLOSING, Reactor, Registered};
use super::ready::{Ready, Wait, try_socket};
use super::stream::{Stream, Timeouts, Tried, tried};
use super::{dns, family};
use crate::base::grants::{Direction, Protocol};

/// A socket that others connect to.
pub(crate) struct TcpListener {
    socket: Registered<std::net::TcpListener>,
    place: Place,
}

impl TcpListener {
    /// # Errors
    /// When it isn't granted, there are too many sockets, or the system says so.
    pub(crate) fn bind(access: &Access, address: SocketAddr) -> Result<Self, NetError> {
        Self::bind_for(access, Protocol::Tcp, address)
    }

    pub(super) fn bind_for(access: &Access, protocol: Protocol, address: SocketAddr) -> Result<Self, NetError> {
        let place = access.place(protocol, Direction::Listen, address)?;
        let socket = family::bound(address, Type::STREAM)?;
        socket.listen(family::BACKLOG)?;
        let socket = access.reactor().register(std::net::TcpListener::from(socket))?;
        Ok(TcpListener { socket, place })
    }

    /// Waits for a connection. Many may wait at once.
    ///
    /// # Errors
    /// When there are too many sockets, or the system says so.
    pub(crate) async fn accept(&self) -> Result<(TcpStream, SocketAddr), NetError> {
        self.socket.closed(CLOSING).await;
        let (socket, peer) = loop {
            match self.socket.io(Interest::READABLE, std::net::TcpListener::accept).await {
                // Who has hung up already is nobody's connection.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                accepted => break accepted?,
            }
        };
        Ok((self.accepted(socket)?, peer))
    }

    fn accepted(&self, socket: std::net::TcpStream) -> Result<TcpStream, NetError> {
        let place = self.place.another()?;
        socket.set_nonblocking(true)?;
        Ok(TcpStream::new(self.socket.another(socket)?, place))
    }

    /// Takes a connection that is there, as [`TcpStream::read_now`] reads.
    ///
    /// # Errors
    /// As of [`TcpListener::accept`].
    pub(crate) fn accept_now(&self) -> Result<Tried<TcpStream>, NetError> {
        let socket = match self.socket.socket().accept() {
            Ok((socket, _peer)) => socket,
            // Who has hung up already is nobody's connection.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {
                return Ok(Tried::Wait(Interest::READABLE));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Tried::Wait(Interest::READABLE)),
            Err(error) => return Err(error.into()),
        };
        Ok(Tried::Done(self.accepted(socket)?))
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket().local_addr()
    }
}

impl Ready for TcpListener {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        try_socket(self.socket.socket(), interest, |look| self.socket.try_io(interest, |_| look()))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

/// A connection.
pub(crate) struct TcpStream {
    socket: Registered<std::net::TcpStream>,
    timeouts: Timeouts,
    _place: Place,
}

impl TcpStream {
    fn new(socket: Registered<std::net::TcpStream>, place: Place) -> Self {
        // Guests have no way to ask for it, and an answer in two writes takes 40 ms without. It fails when the peer has gone.
        let _ = socket.socket().set_nodelay(true);
        TcpStream { socket, timeouts: Timeouts::default(), _place: place }
    }

    /// # Errors
    /// When it isn't granted, there are too many sockets, or nobody is there.
    pub(crate) async fn connect(access: &Access, address: SocketAddr) -> Result<Self, NetError> {
        let place = access.place(Protocol::Tcp, Direction::Connect, address)?;
        Ok(Self::new(connect(access.reactor(), address).await?, place))
    }

    /// Reads what is there, whatever the reactor knows of that: it may be told later than who looks with [`Ready::try_ready`].
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn read_now(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        let mut socket = self.socket.socket();
        tried(socket.read(bytes), Interest::READABLE)
    }

    /// Writes as much as there is room for, in the same way.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> Result<Tried<usize>, NetError> {
        let mut socket = self.socket.socket();
        tried(socket.write(bytes), Interest::WRITABLE)
    }

    /// Connects to a host by the first of its addresses that answers, of those that are granted for this protocol.
    ///
    /// # Errors
    /// When none is granted, the name has none, there are too many sockets, or nobody is there.
    pub(crate) async fn connect_to(
        access: &Access,
        protocol: Protocol,
        host: &str,
        port: u16,
    ) -> Result<Self, NetError> {
        let addresses = dns::granted(access, protocol, host, port).await?;
        let place = access.place_unchecked()?;
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in addresses {
            match connect(access.reactor(), address).await {
                Ok(socket) => return Ok(Self::new(socket, place)),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Reads what is there without taking it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn try_peek(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        tried(self.socket.try_io(Interest::READABLE, |socket| socket.peek(bytes)), Interest::READABLE)
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket().peer_addr()
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.socket().local_addr()
    }

    /// Ends it in one direction, or both.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.socket().shutdown(how)
    }

    pub(super) fn socket(&self) -> &Registered<std::net::TcpStream> {
        &self.socket
    }
}

impl Stream for TcpStream {
    fn try_read(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        tried(read(&self.socket, bytes), Interest::READABLE)
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> Result<Tried<usize>, NetError> {
        tried(write(&self.socket, pieces), Interest::WRITABLE)
    }

    fn try_flush(&self) -> Result<Tried<()>, NetError> {
        Ok(Tried::Done(()))
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await
    }

    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

impl Ready for TcpStream {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        try_socket(self.socket.socket(), interest, |look| self.socket.try_io(interest, |_| look()))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

pub(super) fn read(socket: &Registered<std::net::TcpStream>, bytes: &mut [u8]) -> io::Result<usize> {
    socket.try_io(Interest::READABLE, |mut socket| socket.read(bytes))
}

pub(super) fn write(socket: &Registered<std::net::TcpStream>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.try_io(Interest::WRITABLE, |mut socket| socket.write_vectored(pieces))
}

/// # Errors
/// When nobody is there, or the system says so.
pub(super) async fn connect(reactor: &Reactor, address: SocketAddr) -> io::Result<Registered<std::net::TcpStream>> {
    reactor.closed(CLOSING).await;
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Transport::TCP))?;
    let under_way = match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        begun => begun.is_err(),
    };
    let socket = reactor.register(std::net::TcpStream::from(socket))?;
    if under_way {
        socket.connected().await?;
        if let Some(error) = socket.socket().take_error()? {
            return Err(error);
        }
    }
    Ok(socket)
}
