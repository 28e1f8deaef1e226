//! Sockets in messages: they leave their sender, and end with a message that nobody takes them from.

use std::sync::Arc;

use wasmtime::{Caller, Linker};

use super::data::Socket;
use super::support::{add, take};
use crate::abi::lunatic::OWN;
use crate::abi::lunatic::imports::message::{MODULE, data};
use crate::abi::lunatic::support::{no_handle, trap};
use crate::abi::slots::State;
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::{TlsListener, TlsStream};
use crate::net::udp::UdpSocket;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "push_tcp_stream", push::<TcpStream>)?;
    linker.func_wrap(MODULE, "take_tcp_stream", arrive::<TcpStream>)?;
    linker.func_wrap(MODULE, "push_tls_stream", push::<TlsStream>)?;
    linker.func_wrap(MODULE, "take_tls_stream", arrive::<TlsStream>)?;
    linker.func_wrap(MODULE, "push_udp_socket", push::<UdpSocket>)?;
    linker.func_wrap(MODULE, "take_udp_socket", arrive::<UdpSocket>)?;
    linker.func_wrap(OWN, "push_tcp_listener", push::<TcpListener>)?;
    linker.func_wrap(OWN, "take_tcp_listener", arrive::<TcpListener>)?;
    linker.func_wrap(OWN, "push_tls_listener", push::<TlsListener>)?;
    linker.func_wrap(OWN, "take_tls_listener", arrive::<TlsListener>)?;
    Ok(())
}

fn push<T: Socket>(mut caller: Caller<'_, State>, handle: u64) -> wasmtime::Result<u64> {
    data(&mut caller)?;
    let socket: Arc<T> = take(&mut caller, handle)?;
    let bytes = T::host_bytes(&socket);
    let pushed = data(&mut caller)?.push(Box::new(socket), bytes);
    // What its handle has counted until now counts with the message.
    caller.data_mut().abi.lunatic.data().count();
    pushed.ok_or_else(|| trap(&mut caller, "the message has more resources than one may have"))
}

fn arrive<T: Socket>(mut caller: Caller<'_, State>, index: u64) -> wasmtime::Result<u64> {
    match data(&mut caller)?.take::<Arc<T>>(index) {
        Some(socket) => add(&mut caller, socket),
        None => Err(no_handle(&mut caller, &format!("{} in its message", T::NAME), index)),
    }
}
