//! TCP.

use wasmtime::{Caller, Linker};

use super::address::{self, Given};
use super::listen::{accept, bind, local_address};
use super::stream::{flush, read, set_timeout, timeout, write};
use super::support::{failed_or_late, find, made, remove, share, within};
use crate::abi::lunatic::support::guest;
use crate::abi::lunatic::{NETWORKING, OWN};
use crate::abi::slots::State;
use crate::net::stream::Stream;
use crate::net::tcp::{TcpListener, TcpStream};

/// Arguments of `tcp_bind`, and of `udp_bind`: an address, and where the handle goes.
pub(super) type BindArgs = (i32, i32, i32, i32, i32, i32);
/// Arguments of `tcp_connect`: an address, a timeout and where the handle goes.
type ConnectArgs = (i32, i32, i32, i32, i32, u64, i32);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(NETWORKING, "tcp_bind", |caller, (kind, ip, port, flow, scope, id): BindArgs| {
        Box::new(bind(caller, (kind, ip, port, flow, scope), id, TcpListener::bind))
    })?;
    linker.func_wrap(NETWORKING, "tcp_local_addr", local_address::<TcpListener>)?;
    linker.func_wrap_async(NETWORKING, "tcp_accept", |caller, args| {
        Box::new(accept::<TcpListener>(caller, args, u64::MAX))
    })?;
    linker.func_wrap_async(OWN, "tcp_accept", |caller, (listener, id, peer, ms): (u64, i32, i32, u64)| {
        Box::new(accept::<TcpListener>(caller, (listener, id, peer), ms))
    })?;
    linker.func_wrap(NETWORKING, "drop_tcp_listener", remove::<TcpListener>)?;
    linker.func_wrap_async(NETWORKING, "tcp_connect", |caller, args: ConnectArgs| Box::new(connect(caller, args)))?;
    linker.func_wrap(NETWORKING, "tcp_peer_addr", peer_address)?;
    linker.func_wrap_async(NETWORKING, "tcp_read", |caller, args: (u64, i32, i32, i32)| {
        read::<TcpStream>(caller, args, TcpStream::try_read, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap_async(NETWORKING, "tcp_peek", |caller, args: (u64, i32, i32, i32)| {
        read::<TcpStream>(caller, args, TcpStream::try_peek, |timeouts| &timeouts.peek)
    })?;
    linker.func_wrap_async(NETWORKING, "tcp_write_vectored", |caller, args: (u64, i32, i32, i32)| {
        write::<TcpStream>(caller, args)
    })?;
    linker.func_wrap_async(NETWORKING, "tcp_flush", |caller, args: (u64, i32)| {
        Box::new(flush::<TcpStream>(caller, args))
    })?;
    linker.func_wrap(NETWORKING, "drop_tcp_stream", remove::<TcpStream>)?;
    linker.func_wrap(NETWORKING, "clone_tcp_stream", share::<TcpStream>)?;
    link_timeouts(linker)
}

fn link_timeouts(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(NETWORKING, "set_read_timeout", |mut caller: Caller<'_, State>, stream: u64, ms: u64| {
        set_timeout::<TcpStream>(&mut caller, stream, ms, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap(NETWORKING, "set_write_timeout", |mut caller: Caller<'_, State>, stream: u64, ms: u64| {
        set_timeout::<TcpStream>(&mut caller, stream, ms, |timeouts| &timeouts.write)
    })?;
    linker.func_wrap(NETWORKING, "set_peek_timeout", |mut caller: Caller<'_, State>, stream: u64, ms: u64| {
        set_timeout::<TcpStream>(&mut caller, stream, ms, |timeouts| &timeouts.peek)
    })?;
    linker.func_wrap(NETWORKING, "get_read_timeout", |mut caller: Caller<'_, State>, stream: u64| {
        timeout::<TcpStream>(&mut caller, stream, |timeouts| &timeouts.read)
    })?;
    linker.func_wrap(NETWORKING, "get_write_timeout", |mut caller: Caller<'_, State>, stream: u64| {
        timeout::<TcpStream>(&mut caller, stream, |timeouts| &timeouts.write)
    })?;
    linker.func_wrap(NETWORKING, "get_peek_timeout", |mut caller: Caller<'_, State>, stream: u64| {
        timeout::<TcpStream>(&mut caller, stream, |timeouts| &timeouts.peek)
    })?;
    Ok(())
}

async fn connect(mut caller: Caller<'_, State>, args: ConnectArgs) -> wasmtime::Result<i32> {
    let (kind, ip, port, flow, scope, ms, id) = args;
    let guest = guest(&mut caller)?;
    let given: Given = (kind, ip, port, flow, scope);
    let address = address::read(&mut caller, given)?;
    match within(&mut caller, ms, "connecting", TcpStream::connect(&guest.program.access(), address)).await {
        Err(error) => failed_or_late(&mut caller, id, &error),
        connected => made(&mut caller, id, connected),
    }
}

fn peer_address(mut caller: Caller<'_, State>, stream: u64, out: i32) -> wasmtime::Result<i32> {
    let address = find::<TcpStream>(&mut caller, stream)?.peer_address();
    address::one(&mut caller, out, address)
}
