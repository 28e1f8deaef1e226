//! A client socket before it is connected: its source address and its options.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The addresses connections come from, in turn. None leaves the choice to the system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(pub(crate) Vec<IpAddr>);

impl Sources {
    /// The source of arrival `n`.
    pub(crate) fn of(&self, n: u64) -> Option<IpAddr> {
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        self.0.get(usize::try_from(n % count).ok()?).copied()
    }
}

/// A TCP socket for arrival `n`, bound if it has a source.
///
/// The port is left to `connect`, which may share it between targets: an early choice would use the ports up sooner.
pub(crate) fn tcp(
    target: SocketAddr,
    sources: &Sources,
    n: u64,
    linger0: bool,
    nonblocking: bool,
) -> io::Result<Socket> {
    let socket = Socket::new_raw(Domain::for_address(target), kind(nonblocking), Some(Protocol::TCP))?;
    if let Some(source) = sources.of(n) {
        #[cfg(target_os = "linux")]
        if source.is_ipv4() {
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        }
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    if linger0 {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    Ok(socket)
}

fn kind(nonblocking: bool) -> Type {
    let kind = Type::STREAM.cloexec();
    if nonblocking { kind.nonblocking() } else { kind }
}
