//! Sockets at an address of this machine: how they come by it, which it is, and the connections that come.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::Caller;

use super::address::{self, Given};
use super::data::Socket;
use super::support::{TIMED_OUT, add, find, made, until};
use crate::abi::lunatic::support::{OK, failed, guest, put};
use crate::abi::slots::State;
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::{TlsListener, TlsStream};
use crate::store::resting::{deadline, pause};

/// How long an address that is taken is waited for, from try to try.
const BIND_AGAIN_MS: [u64; 6] = [1, 2, 5, 12, 30, 50];

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

/// `…_accept`: waits for a connection, for so many ms.
pub(super) async fn accept<T: Listener>(
    mut caller: Caller<'_, State>,
    (listener, id, peer): (u64, i32, i32),
    ms: u64,
) -> wasmtime::Result<i32> {
    let listener: Arc<T> = find(&mut caller, listener)?;
    match until(&mut caller, deadline(ms), listener.accept()).await {
        Some(Ok((stream, address))) => {
            let stream = add(&mut caller, Arc::new(stream))?;
            let iterator = address::iterator(&mut caller, [address])?;
            put(&mut caller, id, stream)?;
            put(&mut caller, peer, iterator)?;
            Ok(OK)
        }
        Some(Err(error)) => failed(&mut caller, id, error.to_string()),
        None => Ok(TIMED_OUT),
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
pub(super) async fn bind<T: Socket>(
    mut caller: Caller<'_, State>,
    given: Given,
    id: i32,
    bind: fn(&Access, SocketAddr) -> Result<T, NetError>,
) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let address = address::read(&mut caller, given)?;
    let bound = bind_soon(&mut caller, || bind(&guest.program.access(), address)).await?;
    made(&mut caller, id, bound)
}

/// Tries again for a while when an address is taken: whoever had it may have been killed just now, and be still on its way out.
pub(super) async fn bind_soon<T>(
    caller: &mut Caller<'_, State>,
    bind: impl Fn() -> Result<T, NetError> + Send,
) -> wasmtime::Result<Result<T, NetError>> {
    let access = guest(caller)?.program.access();
    until(caller, None, access.closed()).await;
    for pause_ms in BIND_AGAIN_MS {
        match bind() {
            Err(NetError::Io(error)) if error.kind() == ErrorKind::AddrInUse => pause(caller, deadline(pause_ms)).await,
            bound => return Ok(bound),
        }
    }
    Ok(bind())
}
