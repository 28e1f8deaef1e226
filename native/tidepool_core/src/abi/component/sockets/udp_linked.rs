//! The functions of `wasi:sockets/udp`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::Interest;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmList};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpSocketAddress};
use wasmtime_wasi::p2::bindings::sockets::udp::{IncomingDatagram, OutgoingDatagram};

use super::access::{Answer, Network, access};
use super::tcp::suits;
use super::udp::{Incoming, Outgoing, UdpSocket};
use super::{errors, options};
use crate::abi::component::counted::Counted;
use crate::abi::component::define::{function, waitable};
use crate::abi::component::table::table_of;
use crate::abi::outgoing::grants;
use crate::abi::slots::State;
use crate::base::grants::{Direction, Protocol, Wanted};
use crate::net::error::NetError;
use crate::net::ready::Ready;
use crate::net::stream::Tried;
use crate::net::udp::UdpSocket as System;

/// Most datagrams of one call.
const MAX_DATAGRAMS: u64 = 16;
/// Largest datagram.
const DATAGRAM_BYTES: usize = 64 << 10;

type Socket = Resource<UdpSocket>;

pub(super) fn link(udp: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    waitable::<UdpSocket>(udp, "udp-socket")?;
    waitable::<Incoming>(udp, "incoming-datagram-stream")?;
    waitable::<Outgoing>(udp, "outgoing-datagram-stream")?;
    function(udp, "[method]udp-socket.start-bind", start_bind)?;
    function(udp, "[method]udp-socket.finish-bind", |store, (socket,): (Socket,)| -> Answer<()> {
        let own = table_of(store).get_mut(&socket)?;
        if own.socket.is_none() || own.is_bound {
            return Err(ErrorCode::NotInProgress.into());
        }
        own.is_bound = true;
        Ok(())
    })?;
    function(udp, "[method]udp-socket.stream", stream)?;
    function(udp, "[method]incoming-datagram-stream.receive", receive)?;
    function(udp, "[method]outgoing-datagram-stream.check-send", check_send)?;
    function(udp, "[method]outgoing-datagram-stream.send", send)?;
    known(udp)?;
    options::none::<UdpSocket, u64>(udp, "udp-socket", &["receive-buffer-size", "send-buffer-size"])?;
    options::none::<UdpSocket, u8>(udp, "udp-socket", &["unicast-hop-limit"])
}

fn known(udp: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    function(udp, "[method]udp-socket.local-address", |store, (socket,): (Socket,)| -> Answer<IpSocketAddress> {
        let address = table_of(store).get(&socket)?.bound()?.local_address();
        Ok(address.map_err(|error| errors::of_io(&error))?.into())
    })?;
    function(udp, "[method]udp-socket.remote-address", |store, (socket,): (Socket,)| -> Answer<IpSocketAddress> {
        Ok(table_of(store).get(&socket)?.peer.ok_or(ErrorCode::InvalidState)?.into())
    })?;
    udp.func_wrap("[method]udp-socket.address-family", |mut store: StoreContextMut<'_, State>, (socket,): (Socket,)| {
        Ok((table_of(&mut store).get(&socket)?.family,))
    })
}

fn start_bind(
    store: &mut StoreContextMut<'_, State>,
    (socket, _network, address): (Socket, Resource<Network>, IpSocketAddress),
) -> Answer<()> {
    let address = SocketAddr::from(address);
    let own = table_of(store).get(&socket)?;
    if own.socket.is_some() {
        return Err(ErrorCode::InvalidState.into());
    }
    if !suits(own.family, address) {
        return Err(ErrorCode::InvalidArgument.into());
    }
    let access = access(store.data(), Wanted::Address(Protocol::Udp, Direction::Listen, address))?;
    let bound = System::bind(&access, address).map_err(|error| errors::code(store.data(), &error))?;
    table_of(store).get_mut(&socket)?.socket = Some(Arc::new(bound));
    Ok(())
}

/// The streams of a socket, which sends to the peer, and receives from there alone, if one is given. They take the place of those
/// before, which have to be dropped.
fn stream(
    store: &mut StoreContextMut<'_, State>,
    (socket, peer): (Socket, Option<IpSocketAddress>),
) -> Answer<(Resource<Incoming>, Resource<Outgoing>)> {
    let peer = peer.map(SocketAddr::from);
    let own = table_of(store).get(&socket)?;
    let system = Arc::clone(own.bound()?);
    if own.streams.strong_count() > 0 {
        return Err(
            wasmtime::Error::msg("the guest asked for a socket's streams and had not dropped those before").into()
        );
    }
    match peer {
        None if own.peer.is_some() => system.disconnect().map_err(|error| errors::of_io(&error))?,
        Some(peer) if !suits(own.family, peer) || peer.ip().is_unspecified() || peer.port() == 0 => {
            return Err(ErrorCode::InvalidArgument.into());
        }
        Some(peer) => {
            let access = access(store.data(), Wanted::Address(Protocol::Udp, Direction::Connect, peer))?;
            system.connect(&access, peer).map_err(|error| errors::code(store.data(), &error))?;
        }
        None => {}
    }
    let table = table_of(store);
    let alive = Arc::new(());
    let own = table.get_mut(&socket)?;
    (own.peer, own.streams) = (peer, Arc::downgrade(&alive));
    let incoming = table.push(Incoming { socket: Arc::clone(&system), _alive: Arc::clone(&alive) })?;
    let outgoing = table.push(Outgoing { socket: system, peer, allowed: 0, _alive: alive })?;
    Ok((incoming, outgoing))
}

fn receive(
    store: &mut StoreContextMut<'_, State>,
    (stream, most): (Resource<Incoming>, u64),
) -> Answer<Counted<Vec<IncomingDatagram>>> {
    let system = Arc::clone(&table_of(store).get(&stream)?.socket);
    let (mut received, mut bytes) = (Vec::new(), vec![0; DATAGRAM_BYTES]);
    for _datagram in 0..most.min(MAX_DATAGRAMS) {
        match system.receive_now(&mut bytes) {
            Ok(Tried::Done((count, from))) => {
                let data = bytes.get(..count).unwrap_or_default().to_vec();
                received.push(IncomingDatagram { data, remote_address: from.into() });
            }
            Ok(Tried::Wait(_)) => break,
            Err(_later) if !received.is_empty() => break,
            Err(error) => return Err(errors::code(store.data(), &error).into()),
        }
    }
    let (mut share, bytes) = (None, received.iter().map(|datagram| datagram.data.len()).sum());
    store.data_mut().hold_on_host(&mut share, bytes)?;
    Ok(Counted::new(received, share))
}

fn check_send(store: &mut StoreContextMut<'_, State>, (stream,): (Resource<Outgoing>,)) -> Answer<u64> {
    let stream = table_of(store).get_mut(&stream)?;
    let is_ready = stream.socket.try_ready(Interest::WRITABLE) == Tried::Done(());
    stream.allowed = if is_ready { MAX_DATAGRAMS } else { 0 };
    Ok(stream.allowed)
}

fn send(
    store: &mut StoreContextMut<'_, State>,
    (stream, datagrams): (Resource<Outgoing>, WasmList<OutgoingDatagram>),
) -> Answer<u64> {
    let access = grants::access(store.data());
    let own = table_of(store).get_mut(&stream)?;
    // Asked before they are copied.
    if u64::try_from(datagrams.len()).is_ok_and(|count| count > own.allowed) {
        return Err(wasmtime::Error::msg("the guest sent more datagrams than `check-send` allowed").into());
    }
    let (system, peer) = (Arc::clone(&own.socket), own.peer);
    let datagrams: Vec<OutgoingDatagram> = datagrams.iter(&mut *store)?.collect::<wasmtime::Result<_>>()?;
    let mut sent = 0;
    for datagram in &datagrams {
        let to = datagram.remote_address.map(SocketAddr::from);
        let tried = match (peer, to, &access) {
            (Some(peer), Some(to), _) if peer != to => Err(None),
            (Some(_peer), _, _) => system.send_now(&datagram.data, None).map_err(Some),
            (None, Some(to), Some(access)) => system.send_now(&datagram.data, Some((access, to))).map_err(Some),
            (None, _, _) => Err(None),
        };
        match tried {
            Ok(Tried::Done(_count)) => sent += 1,
            Ok(Tried::Wait(_)) => break,
            Err(_later) if sent > 0 => break,
            Err(error) => return Err(code(store.data(), error).into()),
        }
    }
    let own = table_of(store).get_mut(&stream)?;
    own.allowed = own.allowed.saturating_sub(sent);
    Ok(sent)
}

/// The code of an error; that of `None` is the guest's, who has named nobody to send to, or another than the socket's peer.
fn code(state: &State, error: Option<NetError>) -> ErrorCode {
    error.map_or(ErrorCode::InvalidArgument, |error| errors::code(state, &error))
}
