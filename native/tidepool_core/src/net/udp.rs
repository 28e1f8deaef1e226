//! UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Type;
use tokio::io::Interest;

use super::access::Access;
use super::error::NetError;
use super::family;
use super::quota::Place;
use super::reactor::Registered;
use super::ready::{Ready, Wait, try_socket};
use super::stream::{Tried, tried};
use crate::base::grants::{Direction, Protocol, Wanted};

/// What a socket is to be ready for to receive: one that was refused has an error and nothing to read.
const RECEIVES: Interest = Interest::READABLE.add(Interest::ERROR);

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
        let socket = family::bound(address, Type::DGRAM)?;
        Ok(UdpSocket { socket: access.reactor().register(std::net::UdpSocket::from(socket))?, _place: place })
    }

    /// Has it send to this address, and receive from it alone.
    ///
    /// # Errors
    /// When it isn't granted, or the system says so.
    pub(crate) fn connect(&self, access: &Access, address: SocketAddr) -> Result<(), NetError> {
        check(access, address)?;
        Ok(self.socket.socket().connect(address)?)
    }

    /// Has it receive from all again.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn disconnect(&self) -> io::Result<()> {
        let socket = self.socket.socket();
        let port = socket.local_addr()?.port();
        rustix::net::connect_unspec(socket)?;
        let mut left = socket.local_addr()?;
        // Linux forgets a port that it has chosen itself.
        if left.port() != port {
            left.set_port(port);
            rustix::net::bind(socket, &left)?;
        }
        Ok(())
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
    /// What the system says: for one that a peer refuses what was sent to it, when the socket is connected.
    pub(crate) fn try_receive(&self, bytes: &mut [u8]) -> Result<Tried<(usize, SocketAddr)>, NetError> {
        tried(self.try_receiving(|socket| socket.recv_from(bytes)), RECEIVES)
    }

    /// Sends a datagram to where it is connected to, or to an address, whatever the reactor knows of the room for it: it may be told
    /// later than who looks with [`Ready::try_ready`].
    ///
    /// # Errors
    /// When it isn't granted, or the system says so.
    pub(crate) fn send_now(&self, bytes: &[u8], to: Option<(&Access, SocketAddr)>) -> Result<Tried<usize>, NetError> {
        let sent = match to {
            None => self.socket.socket().send(bytes),
            Some((access, address)) => {
                check(access, address)?;
                self.socket.socket().send_to(bytes, address)
            }
        };
        tried(sent, Interest::WRITABLE)
    }

    /// Receives a datagram as [`UdpSocket::try_receive`] does, in the same way.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn receive_now(&self, bytes: &mut [u8]) -> Result<Tried<(usize, SocketAddr)>, NetError> {
        tried(self.socket.socket().recv_from(bytes), RECEIVES)
    }

    /// Tries what may find a datagram or an error. Tokio takes one interest at a time here, and forgets what it knows of that alone.
    fn try_receiving<T>(&self, mut look: impl FnMut(&std::net::UdpSocket) -> io::Result<T>) -> io::Result<T> {
        match self.socket.try_io(Interest::READABLE, &mut look) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.try_io(Interest::ERROR, look),
            found => found,
        }
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
        if interest.is_readable() {
            try_socket(self.socket.socket(), RECEIVES, |look| self.try_receiving(|_| look()))
        } else {
            try_socket(self.socket.socket(), interest, |look| self.socket.try_io(interest, |_| look()))
        }
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

fn check(access: &Access, address: SocketAddr) -> Result<(), NetError> {
    access.check(Wanted::Address(Protocol::Udp, Direction::Connect, address))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::runtime::Builder;

    use super::super::access::Network;
    use super::*;
    use crate::base::config::IoBackend;
    use crate::base::grants::Grants;
    use crate::settings;

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn received(socket: &UdpSocket) -> Result<usize, NetError> {
        let mut bytes = [0; 8];
        loop {
            match socket.try_receive(&mut bytes)? {
                Tried::Done((count, _from)) => return Ok(count),
                Tried::Wait(interest) => socket.ready(interest).await?,
            }
        }
    }

    #[test]
    fn a_socket_that_lets_go_of_its_peer_keeps_its_port() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let config = crate::base::config::NetworkConfig { grants: Grants::all(), ..settings::network() };
        let network = Arc::new(Network::new(&config, runtime.handle().clone()));
        let held = crate::base::fair_share::NetworkHeld::default();
        let access = Access::new(&network, &Arc::new(Grants::all()), &held, None);
        let peer = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for own in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let socket = UdpSocket::bind(&access, SocketAddr::from((own, 0))).unwrap();
            let bound = socket.local_address().unwrap();
            for _twice in 0..2 {
                socket.connect(&access, peer.local_addr().unwrap()).unwrap();
                socket.disconnect().unwrap();
                assert_eq!(socket.local_address().unwrap(), bound);
            }
            peer.send_to(b"ping", (Ipv4Addr::LOCALHOST, bound.port())).unwrap();
            let heard = runtime.block_on(async { tokio::time::timeout(PATIENCE, received(&socket)).await.unwrap() });
            assert_eq!(heard.unwrap(), 4);
        }
    }

    #[test]
    fn who_waits_on_a_connected_socket_hears_that_its_peer_refuses_and_may_go_on() {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        for io in [IoBackend::Tokio, IoBackend::Uring] {
            let grants = Arc::new(Grants::all());
            let config = crate::base::config::NetworkConfig { grants: Grants::all(), io, ..settings::network() };
            let network = Arc::new(Network::new(&config, runtime.handle().clone()));
            let access = Access::new(&network, &grants, &crate::base::fair_share::NetworkHeld::default(), None);
            let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let peer = std::net::UdpSocket::bind(local()).unwrap();
            let (address, socket) = (peer.local_addr().unwrap(), Arc::new(UdpSocket::bind(&access, local()).unwrap()));
            socket.connect(&access, address).unwrap();
            drop(peer);
            for _twice in 0..2 {
                let waits = Arc::clone(&socket);
                let heard = runtime.spawn(async move { received(&waits).await });
                // Nobody hears of it who asks only afterwards; so it is sent until who waits has heard.
                let heard = runtime.block_on(async {
                    let sends = async {
                        loop {
                            let _refused_or_sent = socket.try_send(b"ping");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    };
                    tokio::select! {
                        heard = heard => heard.unwrap(),
                        () = sends => panic!("it goes on"),
                        () = tokio::time::sleep(PATIENCE) => panic!("nobody hears of it"),
                    }
                });
                let Err(NetError::Io(error)) = heard else { panic!("{heard:?}") };
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            }
            let peer = std::net::UdpSocket::bind(address).unwrap();
            runtime.block_on(async {
                let (heard, ()) = tokio::join!(tokio::time::timeout(PATIENCE, received(&socket)), async {
                    // What was refused before may be told first.
                    while peer.send_to(b"pong", socket.local_address().unwrap()).is_err() {}
                });
                assert!(matches!(heard, Ok(Ok(4) | Err(_))), "{heard:?}");
            });
        }
    }
}
