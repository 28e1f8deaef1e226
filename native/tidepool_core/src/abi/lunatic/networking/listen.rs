//! Sockets at an address of this machine: how they come by it, which it is, and the connections that come.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::Caller;

use super::address::{self, Given};
use super::data::Socket;
use super::support::{add, find, made, until};
use crate::abi::lunatic::support::{OK, failed, guest, put};
use crate::abi::slots::State;
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::{TlsListener, TlsStream};

/// Listeners that guests have.
pub(super) trait Listener: Socket {
    type Stream: Socket;

    fn accept(&self) -> impl Future<Output = Result<(Self::Stream, SocketAddr), NetError>> + Send;
    fn address(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> impl Future<Output = Result<(TcpStream, SocketAddr), NetError>> + Send {
        TcpListener::accept(self)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_address()
    }
}

impl Listener for TlsListener {
    type Stream = TlsStream;

    fn accept(&self) -> impl Future<Output = Result<(TlsStream, SocketAddr), NetError>> + Send {
        TlsListener::accept(self)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_address()
    }
}

/// `…_accept`: waits for a connection.
pub(super) async fn accept<T: Listener>(
    mut caller: Caller<'_, State>,
    (listener, id, peer): (u64, i32, i32),
) -> wasmtime::Result<i32> {
    let listener: Arc<T> = find(&mut caller, listener)?;
    match until(&mut caller, None, listener.accept()).await {
        Some(Ok((stream, address))) => {
            let stream = add(&mut caller, Arc::new(stream))?;
            let iterator = address::iterator(&mut caller, [address])?;
            put(&mut caller, id, stream)?;
            put(&mut caller, peer, iterator)?;
            Ok(OK)
        }
        Some(Err(error)) => failed(&mut caller, id, error.to_string()),
        None => failed(&mut caller, id, "accepting has no end in time"),
    }
}

/// `…_local_addr`.
pub(super) fn local_address<T: Listener>(
    mut caller: Caller<'_, State>,
    listener: u64,
    out: i32,
) -> wasmtime::Result<i32> {
    let address = find::<T>(&mut caller, listener)?.address();
    address::one(&mut caller, out, address)
}

/// A socket at the address that the guest gives.
pub(super) fn bind<T: Socket>(
    mut caller: Caller<'_, State>,
    given: Given,
    id: i32,
    bind: fn(&Access, SocketAddr) -> Result<T, NetError>,
) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let address = address::read(&mut caller, given)?;
    made(&mut caller, id, bind(&guest.program.access, address))
}
