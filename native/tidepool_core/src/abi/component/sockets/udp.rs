//! A socket of UDP, and its two streams of datagrams.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::io::Interest;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::ready::ready;
use crate::net::udp::UdpSocket as Socket;

/// A socket.
pub(super) struct UdpSocket {
    pub(super) family: IpAddressFamily,
    pub(super) socket: Option<Arc<Socket>>,
    /// Was its binding finished?
    pub(super) is_bound: bool,
    /// Where it sends to, and receives from alone.
    pub(super) peer: Option<SocketAddr>,
    /// Alive while one of its streams is.
    pub(super) streams: Weak<()>,
}

impl UdpSocket {
    pub(super) fn new(family: IpAddressFamily) -> Self {
        UdpSocket { family, socket: None, is_bound: false, peer: None, streams: Weak::new() }
    }

    /// The system's, once its binding was finished.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidState`] before.
    pub(super) fn bound(&self) -> Result<&Arc<Socket>, ErrorCode> {
        self.socket.as_ref().filter(|_socket| self.is_bound).ok_or(ErrorCode::InvalidState)
    }
}

/// What comes.
pub(super) struct Incoming {
    pub(super) socket: Arc<Socket>,
    pub(super) _alive: Arc<()>,
}

/// What goes.
pub(super) struct Outgoing {
    pub(super) socket: Arc<Socket>,
    pub(super) peer: Option<SocketAddr>,
    /// How many may be sent now.
    pub(super) allowed: u64,
    pub(super) _alive: Arc<()>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for UdpSocket {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        ready(&self.socket, Interest::READABLE).await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {
        ready(&self.socket, Interest::WRITABLE).await;
    }
}
