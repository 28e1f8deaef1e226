//! UDP.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;
use wasmtime::{Caller, Linker};

use super::address;
use super::listen::bind;
use super::stream::{charge, idle};
use super::support::{TIMED_OUT, count, find, range, remove, share, until};
use super::tcp::BindArgs;
use crate::abi::lunatic::support::{OK, failed, guest, put, trap};
use crate::abi::lunatic::{NETWORKING, OWN};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::net::error::NetError;
use crate::net::stream::Tried;
use crate::net::udp::UdpSocket;
use crate::store::resting::deadline;

/// `udp_peer_addr` of a socket without a peer, and when something else is wrong.
const NOT_CONNECTED: i32 = 1;
const OTHER: i32 = 2;
/// Larger datagrams there are none.
const MAX_DATAGRAM: usize = 64 << 10;

/// Arguments of `udp_send_to`: a socket, bytes, an address, and where their number goes.
type SendToArgs = (u64, i32, i32, i32, i32, i32, i32, i32, i32);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(NETWORKING, "udp_bind", |caller, (kind, ip, port, flow, scope, id): BindArgs| {
        Box::new(bind(caller, (kind, ip, port, flow, scope), id, UdpSocket::bind))
    })?;
    linker.func_wrap(NETWORKING, "udp_local_addr", |mut caller: Caller<'_, State>, socket: u64, out: i32| {
        let address = find::<UdpSocket>(&mut caller, socket)?.local_address();
        address::one(&mut caller, out, address)
    })?;
    linker.func_wrap(NETWORKING, "udp_peer_addr", peer_address)?;
    linker.func_wrap(NETWORKING, "udp_connect", connect)?;
    linker.func_wrap_async(NETWORKING, "udp_send", |caller, (socket, ptr, len, out): (u64, i32, i32, i32)| {
        Box::new(send(caller, socket, (ptr, len), None, out))
    })?;
    linker.func_wrap_async(NETWORKING, "udp_send_to", |mut caller, args: SendToArgs| {
        Box::new(async move {
            let (socket, ptr, len, kind, ip, port, flow, scope, out) = args;
            let address = address::read(&mut caller, (kind, ip, port, flow, scope))?;
            send(caller, socket, (ptr, len), Some(address), out).await
        })
    })?;
    linker.func_wrap_async(NETWORKING, "udp_receive", |caller, (socket, ptr, len, out): (u64, i32, i32, i32)| {
        Box::new(receive(caller, socket, (ptr, len), out, None, u64::MAX))
    })?;
    linker.func_wrap_async(
        NETWORKING,
        "udp_receive_from",
        |caller, (socket, ptr, len, out, from): (u64, i32, i32, i32, i32)| {
            Box::new(receive(caller, socket, (ptr, len), out, Some(from), u64::MAX))
        },
    )?;
    linker.func_wrap_async(
        OWN,
        "udp_receive_from",
        |caller, (socket, ptr, len, out, from, ms): (u64, i32, i32, i32, i32, u64)| {
            Box::new(receive(caller, socket, (ptr, len), out, Some(from), ms))
        },
    )?;
    linker.func_wrap(NETWORKING, "drop_udp_socket", remove::<UdpSocket>)?;
    linker.func_wrap(NETWORKING, "clone_udp_socket", share::<UdpSocket>)?;
    link_options(linker)
}

fn link_options(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // They have no way to fail but by a trap.
    linker.func_wrap(NETWORKING, "set_udp_socket_ttl", |mut caller: Caller<'_, State>, socket: u64, ttl: i32| {
        let set = find::<UdpSocket>(&mut caller, socket)?.set_ttl(ttl.cast_unsigned());
        set.map_err(|error| trap(&mut caller, format!("a TTL of {ttl} can't be set: {error}")))
    })?;
    linker.func_wrap(NETWORKING, "get_udp_socket_ttl", |mut caller: Caller<'_, State>, socket: u64| {
        let ttl = find::<UdpSocket>(&mut caller, socket)?.ttl();
        ttl.map(u32::cast_signed).map_err(|error| trap(&mut caller, format!("the TTL can't be had: {error}")))
    })?;
    linker.func_wrap(
        NETWORKING,
        "set_udp_socket_broadcast",
        |mut caller: Caller<'_, State>, socket: u64, flag: i32| {
            let set = find::<UdpSocket>(&mut caller, socket)?.set_broadcast(flag != 0);
            set.map_err(|error| trap(&mut caller, format!("broadcasts can't be allowed: {error}")))
        },
    )?;
    linker.func_wrap(NETWORKING, "get_udp_socket_broadcast", |mut caller: Caller<'_, State>, socket: u64| {
        let flag = find::<UdpSocket>(&mut caller, socket)?.broadcast();
        flag.map(i32::from).map_err(|error| trap(&mut caller, format!("the flag can't be had: {error}")))
    })?;
    Ok(())
}

fn peer_address(mut caller: Caller<'_, State>, socket: u64, out: i32) -> wasmtime::Result<i32> {
    match find::<UdpSocket>(&mut caller, socket)?.peer_address() {
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(NOT_CONNECTED),
        Err(error) => failed(&mut caller, out, error.to_string()).map(|_failed| OTHER),
        address => address::one(&mut caller, out, address),
    }
}

#[expect(clippy::too_many_arguments, reason = "the ABI's")]
fn connect(
    mut caller: Caller<'_, State>,
    socket: u64,
    kind: i32,
    ip: i32,
    port: i32,
    flow: i32,
    scope: i32,
    _ms: u64,
    out: i32,
) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let socket: Arc<UdpSocket> = find(&mut caller, socket)?;
    let address = address::read(&mut caller, (kind, ip, port, flow, scope))?;
    match socket.connect(&guest.program.access(), address) {
        Err(error) => failed(&mut caller, out, error.to_string()),
        Ok(()) => Ok(OK),
    }
}

/// Sends a datagram, to an address or to where the socket is connected to.
async fn send(
    mut caller: Caller<'_, State>,
    socket: u64,
    (ptr, len): (i32, i32),
    address: Option<SocketAddr>,
    out: i32,
) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let socket: Arc<UdpSocket> = find(&mut caller, socket)?;
    let (start, length) = range(&mut caller, ptr, len)?;
    let access = guest.program.access();
    if length > MAX_DATAGRAM {
        return failed(&mut caller, out, format!("a datagram has {MAX_DATAGRAM} bytes at most, and this one {length}"));
    }
    loop {
        let memory = memory::memory(&mut caller)?;
        let bytes = memory.data(&caller).get(start..).and_then(|bytes| bytes.get(..length)).unwrap_or_default();
        let tried = match address {
            Some(address) => socket.try_send_to(&access, bytes, address),
            None => socket.try_send(bytes),
        };
        if let Some(code) = tried_once(&mut caller, &socket, tried, out, None).await? {
            return Ok(code);
        }
    }
}

/// Receives a datagram within so many ms; where it comes from goes to `from`, if there is that.
async fn receive(
    mut caller: Caller<'_, State>,
    socket: u64,
    (ptr, len): (i32, i32),
    out: i32,
    from: Option<i32>,
    ms: u64,
) -> wasmtime::Result<i32> {
    let deadline = deadline(ms);
    let socket: Arc<UdpSocket> = find(&mut caller, socket)?;
    let (start, length) = range(&mut caller, ptr, len)?;
    loop {
        let memory = memory::memory(&mut caller)?;
        let bytes = memory.data_mut(&mut caller).get_mut(start..).and_then(|bytes| bytes.get_mut(..length));
        let (tried, source) = match socket.try_receive(bytes.unwrap_or_default()) {
            Ok(Tried::Done((count, source))) => (Ok(Tried::Done(count)), Some(source)),
            Ok(Tried::Wait(interest)) => (Ok(Tried::Wait(interest)), None),
            Err(error) => (Err(error), None),
        };
        if let (Some(out), Some(source)) = (from, source) {
            let iterator = address::iterator(&mut caller, [source])?;
            put(&mut caller, out, iterator)?;
        }
        if let Some(code) = tried_once(&mut caller, &socket, tried, out, deadline).await? {
            return Ok(code);
        }
    }
}

/// The import's result, or `None` when it is to be tried again now.
async fn tried_once(
    caller: &mut Caller<'_, State>,
    socket: &UdpSocket,
    tried: Result<Tried<usize>, NetError>,
    out: i32,
    deadline: Option<Instant>,
) -> wasmtime::Result<Option<i32>> {
    match tried {
        Ok(Tried::Done(bytes)) => {
            put(caller, out, count(bytes))?;
            charge(caller, bytes);
            Ok(Some(OK))
        }
        Err(error) => failed(caller, out, error.to_string()).map(Some),
        Ok(Tried::Wait(interest)) => wait(caller, socket, interest, out, deadline).await,
    }
}

async fn wait(
    caller: &mut Caller<'_, State>,
    socket: &UdpSocket,
    interest: Interest,
    out: i32,
    deadline: Option<Instant>,
) -> wasmtime::Result<Option<i32>> {
    match until(caller, deadline, socket.ready(interest)).await {
        None => Ok(Some(TIMED_OUT)),
        Some(Err(error)) => failed(caller, out, error.to_string()).map(Some),
        Some(Ok(())) => {
            idle(caller).await;
            Ok(None)
        }
    }
}
