//! TCP.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol as Transport, Type};
use tokio::io::Interest;

use super::access::Access;
use super::error::NetError;
use super::quota::Place;
use super::reactor::{CLOSING, Reactor, Registered};
use super::ready::{Ready, Wait, try_socket};
use super::stream::{Stream, Timeouts, Tried, tried};
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
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let socket = access.reactor().register(socket)?;
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
        let place = self.place.another()?;
        socket.set_nonblocking(true)?;
        Ok((TcpStream::new(self.socket.another(socket)?, place), peer))
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
    pub(super) fn new(socket: Registered<std::net::TcpStream>, place: Place) -> Self {
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
