//! The sockets of a guest.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::abi::lunatic::handles::{Handles, HeapSize};
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::{TlsListener, TlsStream};
use crate::net::udp::UdpSocket;

/// What a guest has of the network. A socket may be others', too: it ends with the last of them.
#[derive(Default)]
pub(crate) struct Sockets {
    tcp_listeners: Handles<Arc<TcpListener>>,
    tcp_streams: Handles<Arc<TcpStream>>,
    tls_listeners: Handles<Arc<TlsListener>>,
    tls_streams: Handles<Arc<TlsStream>>,
    udp: Handles<Arc<UdpSocket>>,
    /// Addresses that the guest has not looked at.
    pub(super) addresses: Handles<VecDeque<SocketAddr>>,
}

impl Sockets {
    /// Has it none, and nothing to look at?
    pub(in crate::abi::lunatic) fn is_empty(&self) -> bool {
        let Sockets { tcp_listeners, tcp_streams, tls_listeners, tls_streams, udp, addresses } = self;
        let tcp = tcp_listeners.is_empty() && tcp_streams.is_empty();
        tcp && tls_listeners.is_empty() && tls_streams.is_empty() && udp.is_empty() && addresses.is_empty()
    }

    /// What its tables take, and sessions and certificates of TLS. The sockets themselves are few: their number is the function's to bound.
    pub(in crate::abi::lunatic) fn bytes(&self) -> usize {
        let Sockets { tcp_listeners, tcp_streams, tls_listeners, tls_streams, udp, addresses } = self;
        let tcp = tcp_listeners.bytes() + tcp_streams.bytes();
        tcp + tls_listeners.bytes() + tls_streams.bytes() + udp.bytes() + addresses.bytes()
    }

    /// How many there are in all tables.
    pub(in crate::abi::lunatic) fn handles(&self) -> usize {
        let Sockets { tcp_listeners, tcp_streams, tls_listeners, tls_streams, udp, addresses } = self;
        let tcp = tcp_listeners.len() + tcp_streams.len();
        tcp + tls_listeners.len() + tls_streams.len() + udp.len() + addresses.len()
    }

    /// How many things are dropped with it.
    pub(in crate::abi::lunatic) fn things(&self) -> usize {
        let Sockets { tcp_listeners, tcp_streams, tls_listeners, tls_streams, udp, addresses } = self;
        let listeners = tcp_listeners.len() + tls_listeners.len();
        (listeners + tcp_streams.len() + tls_streams.len() + udp.len()) * CLOSED + addresses.len()
    }
}

/// A socket that is closed takes as long as so many texts that are dropped: 5 to 10 µs.
pub(in crate::abi::lunatic) const CLOSED: usize = 50;

/// What rustls keeps of a connection: secrets, buffers for what goes and comes, the peer's certificates, and a message of a handshake that is
/// yet to come as a whole; each of the last two has 64 KiB at most.
pub(super) const TLS_SESSION: usize = 168 << 10;

impl<T: Socket> HeapSize for Arc<T> {
    fn heap_bytes(&self) -> usize {
        T::host_bytes(self)
    }
}

impl HeapSize for VecDeque<SocketAddr> {
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<SocketAddr>()
    }
}

/// A kind of sockets.
pub(super) trait Socket: Send + Sync + Sized + 'static {
    /// What guests call it.
    const NAME: &'static str;
    /// What one takes on the host beside what its number bounds.
    fn host_bytes(&self) -> usize {
        0
    }

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>>;
}

impl Socket for TcpListener {
    const NAME: &'static str = "TCP listener";

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>> {
        &mut sockets.tcp_listeners
    }
}

impl Socket for TcpStream {
    const NAME: &'static str = "TCP stream";

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>> {
        &mut sockets.tcp_streams
    }
}

impl Socket for TlsListener {
    const NAME: &'static str = "TLS listener";

    fn host_bytes(&self) -> usize {
        self.certificate_bytes()
    }

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>> {
        &mut sockets.tls_listeners
    }
}

impl Socket for TlsStream {
    const NAME: &'static str = "TLS stream";

    fn host_bytes(&self) -> usize {
        TLS_SESSION.saturating_add(self.certificate_bytes())
    }

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>> {
        &mut sockets.tls_streams
    }
}

impl Socket for UdpSocket {
    const NAME: &'static str = "UDP socket";

    fn table(sockets: &mut Sockets) -> &mut Handles<Arc<Self>> {
        &mut sockets.udp
    }
}
