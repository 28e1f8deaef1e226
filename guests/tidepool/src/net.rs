//! Sockets: what ends in time, and what can be left to the next version.

use std::cell::Cell;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lunatic::host::api::{message, networking};
use lunatic::net::{TcpStream, ToSocketAddrs, UdpSocket};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::{self, ms};
use crate::waitable::{sealed::Sealed, Waitable, TCP_LISTENER};

/// Receives a datagram within a time: its length and where it comes from, `None` when the time was over.
///
/// # Errors
/// What the system says.
pub fn receive_from(
    socket: &UdpSocket,
    buffer: &mut [u8],
    timeout: Option<Duration>,
) -> Result<Option<(usize, SocketAddr)>> {
    let (mut count, mut from) = (0, 0);
    // SAFETY: the host writes no more than the buffer has, and to both numbers.
    let code = unsafe {
        let (place, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        host::udp_receive_from(socket.handle(), place, len, &mut count, &mut from, ms(timeout))
    };
    match code {
        host::OK => Ok(Some((count as usize, host::address(from).ok_or(ErrorKind::InvalidData)?))),
        host::TIMED_OUT => Ok(None),
        _ => Err(host::error(count)),
    }
}

/// A TCP listener. Beside that of the crate `lunatic` it accepts within a time, and may be part of a message, or of what a version
/// leaves to the next one: no client sees that it has moved.
#[derive(Debug)]
pub struct Listener {
    id: u64,
    /// Whether a message has it, and this one no more.
    moved: Cell<bool>,
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// When it is not granted, or taken.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        let mut id = 0;
        for address in address.to_socket_addrs()? {
            let (kind, octets) = match address.ip() {
                IpAddr::V4(ip) => (4, ip.octets().to_vec()),
                IpAddr::V6(ip) => (6, ip.octets().to_vec()),
            };
            let (port, scope) = (u32::from(address.port()), if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 });
            // SAFETY: the address is as long as its kind says, and the host writes the number.
            if unsafe { networking::tcp_bind(kind, octets.as_ptr(), port, 0, scope, &mut id) } == host::OK {
                return Ok(Listener { id, moved: Cell::new(false) });
            }
        }
        Err(host::error(id))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        let mut out = 0;
        // SAFETY: the host writes the number.
        match unsafe { networking::tcp_local_addr(self.id, &mut out) } {
            host::OK => host::address(out).ok_or_else(|| ErrorKind::InvalidData.into()),
            _ => Err(host::error(out)),
        }
    }

    /// Accepts a connection within a time; `None` when that was over. The message that was received last is read before.
    ///
    /// # Errors
    /// When there are as many sockets as there may be, or the system says so.
    pub fn accept(&self, timeout: Option<Duration>) -> Result<Option<(TcpStream, SocketAddr)>> {
        let (mut stream, mut peer) = (0, 0);
        // SAFETY: the host writes both numbers.
        match unsafe { host::tcp_accept(self.id, &mut stream, &mut peer, ms(timeout)) } {
            host::OK => Ok(Some((own(stream)?, host::address(peer).ok_or(ErrorKind::InvalidData)?))),
            host::TIMED_OUT => Ok(None),
            _ => Err(host::error(stream)),
        }
    }
}

impl Sealed for Listener {}

impl Waitable for Listener {
    fn handle(&self) -> u64 {
        self.id
    }

    fn kind(&self) -> u32 {
        TCP_LISTENER
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.moved.get() {
            // SAFETY: it is this one's, which nobody has any more.
            unsafe { networking::drop_tcp_listener(self.id) };
        }
    }
}

/// It leaves the process with the message, or for the next version: what is done with it afterwards is a trap.
impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.moved.set(true);
        // SAFETY: there is a message that is being written.
        let index = unsafe { host::push_tcp_listener(self.id) };
        serializer.serialize_u64(index)
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let index = u64::deserialize(deserializer)?;
        // SAFETY: there is a message that is being read.
        Ok(Listener { id: unsafe { host::take_tcp_listener(index) }, moved: Cell::new(false) })
    }
}

/// The stream with a handle, as the crate `lunatic` has it: that gives no other way to one than by a message.
fn own(handle: u64) -> Result<TcpStream> {
    // SAFETY: no pointers.
    let index = unsafe {
        message::create_data(0, 0);
        message::push_tcp_stream(handle)
    };
    let index: serde::de::value::U64Deserializer<serde::de::value::Error> = index.into_deserializer();
    TcpStream::deserialize(index).map_err(|error| Error::new(ErrorKind::Other, error.to_string()))
}
