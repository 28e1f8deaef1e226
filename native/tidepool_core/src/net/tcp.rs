//! TCP.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

use super::access::Access;
use super::error::NetError;
use super::quota::Place;
use super::ready::{Ready, Wait, try_socket};
use super::stream::{Stream, Timeouts, Tried, tried};
use crate::base::grants::{Direction, Protocol};

/// A socket that others connect to.
pub(crate) struct TcpListener {
    socket: AsyncFd<std::net::TcpListener>,
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
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, for sockets that don't own their number: this one does"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(TcpListener { socket, place })
    }

    /// Waits for a connection. Many may wait at once.
    ///
    /// # Errors
    /// When there are too many sockets, or the system says so.
    pub(crate) async fn accept(&self) -> Result<(TcpStream, SocketAddr), NetError> {
        let (socket, peer) = loop {
            match self.socket.async_io(Interest::READABLE, std::net::TcpListener::accept).await {
                // Who has hung up already is nobody's connection.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                accepted => break accepted?,
            }
        };
        let place = self.place.another()?;
        socket.set_nonblocking(true)?;
        Ok((TcpStream::new(tokio::net::TcpStream::from_std(socket)?, place), peer))
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await.map(|_guard| ())
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }
}

impl Ready for TcpListener {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        try_socket(self.socket.get_ref(), interest, |look| self.socket.try_io(interest, |_| look()))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

/// A connection.
pub(crate) struct TcpStream {
    socket: tokio::net::TcpStream,
    timeouts: Timeouts,
    _place: Place,
}

impl TcpStream {
    pub(super) fn new(socket: tokio::net::TcpStream, place: Place) -> Self {
        // Guests have no way to ask for it, and an answer in two writes takes 40 ms without. It fails when the peer has gone.
        let _ = socket.set_nodelay(true);
        TcpStream { socket, timeouts: Timeouts::default(), _place: place }
    }

    /// # Errors
    /// When it isn't granted, there are too many sockets, or nobody is there.
    pub(crate) async fn connect(access: &Access, address: SocketAddr) -> Result<Self, NetError> {
        let place = access.place(Protocol::Tcp, Direction::Connect, address)?;
        Ok(Self::new(tokio::net::TcpStream::connect(address).await?, place))
    }

    /// Reads what is there without taking it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn try_peek(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        // There is no other way to try. The waker is the one of this operation alone, and those that wait have their own.
        match self.socket.poll_peek(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(bytes)) {
            Poll::Ready(outcome) => tried(outcome, Interest::READABLE),
            Poll::Pending => Ok(Tried::Wait(Interest::READABLE)),
        }
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    pub(super) fn socket(&self) -> &tokio::net::TcpStream {
        &self.socket
    }
}

impl Stream for TcpStream {
    fn try_read(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        tried(self.socket.try_read(bytes), Interest::READABLE)
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> Result<Tried<usize>, NetError> {
        tried(self.socket.try_write_vectored(pieces), Interest::WRITABLE)
    }

    fn try_flush(&self) -> Result<Tried<()>, NetError> {
        Ok(Tried::Done(()))
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await.map(|_ready| ())
    }

    fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

impl Ready for TcpStream {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        try_socket(&self.socket, interest, |look| self.socket.try_io(interest, look))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}
