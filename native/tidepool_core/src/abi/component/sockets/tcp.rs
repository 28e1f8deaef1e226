//! A socket of TCP, and what it has come to.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::connection::Connection;
use super::ready::ready;
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::tcp::{TcpListener, TcpStream};

type Connecting = Pin<Box<dyn Future<Output = Result<TcpStream, NetError>> + Send + Sync>>;

/// A socket.
pub(super) struct TcpSocket {
    pub(super) family: IpAddressFamily,
    pub(super) stage: Stage,
}

/// What a socket has come to. What was started is finished by a call of its own.
pub(super) enum Stage {
    New,
    /// It has an address, and the system's socket accepts from there on.
    BindStarted(Arc<TcpListener>),
    Bound(Arc<TcpListener>),
    ListenStarted(Arc<TcpListener>),
    Listening(Arc<TcpListener>),
    Connecting(Connecting),
    ConnectOver(Result<TcpStream, NetError>),
    Connected(Arc<Connection>),
    Closed,
}

impl Stage {
    /// Was something started that is to be finished first?
    pub(super) fn is_started(&self) -> bool {
        matches!(self, Self::BindStarted(_) | Self::ListenStarted(_) | Self::Connecting(_) | Self::ConnectOver(_))
    }
}

/// Is this an address that a socket of the family may have?
pub(super) fn suits(family: IpAddressFamily, address: SocketAddr) -> bool {
    match (family, address) {
        (IpAddressFamily::Ipv4, SocketAddr::V4(_)) => true,
        (IpAddressFamily::Ipv6, SocketAddr::V6(v6)) => v6.ip().to_ipv4_mapped().is_none(),
        _ => false,
    }
}

impl TcpSocket {
    pub(super) fn new(family: IpAddressFamily) -> Self {
        TcpSocket { family, stage: Stage::New }
    }

    pub(super) fn connect(&mut self, access: Arc<Access>, address: SocketAddr) {
        self.stage = Stage::Connecting(Box::pin(async move { TcpStream::connect(&access, address).await }));
    }

    /// Ready when a connection has come, or not.
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Connecting(connecting) = &mut self.stage else { return Poll::Ready(()) };
        let Poll::Ready(connected) = connecting.as_mut().poll(cx) else { return Poll::Pending };
        self.stage = Stage::ConnectOver(connected);
        Poll::Ready(())
    }

    /// Looks whether a connection has come. Who waits for it asks again.
    pub(super) fn look(&mut self) {
        let _pending = self.poll_connected(&mut Context::from_waker(Waker::noop()));
    }

    /// # Errors
    /// [`ErrorCode::InvalidState`] when it has none.
    pub(super) fn listener(&self) -> Result<&Arc<TcpListener>, ErrorCode> {
        match &self.stage {
            Stage::Listening(listener) => Ok(listener),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// # Errors
    /// [`ErrorCode::InvalidState`] when it has none.
    pub(super) fn connection(&self) -> Result<&Arc<Connection>, ErrorCode> {
        match &self.stage {
            Stage::Connected(connection) => Ok(connection),
            _ => Err(ErrorCode::InvalidState),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        match &self.stage {
            Stage::Connecting(_) => poll_fn(|cx| self.poll_connected(cx)).await,
            Stage::Listening(listener) => ready(&Arc::clone(listener), Interest::READABLE).await,
            _ => {}
        }
    }
}
