//! The functions of `wasi:sockets/tcp`.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpSocketAddress};
use wasmtime_wasi::p2::bindings::sockets::tcp::ShutdownType;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::access::{Answer, Network, access};
use super::connection::Connection;
use super::streams::{Input, Output};
use super::tcp::{Stage, TcpSocket, suits};
use super::{errors, options};
use crate::abi::component::define::{function, waitable};
use crate::abi::component::table::{has_room, table_of};
use crate::abi::slots::State;
use crate::base::grants::{Direction, Protocol, Wanted};
use crate::net::stream::Tried;
use crate::net::tcp::TcpListener;

type Socket = Resource<TcpSocket>;
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

pub(super) fn link(tcp: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    waitable::<TcpSocket>(tcp, "tcp-socket")?;
    function(tcp, "[method]tcp-socket.start-bind", start_bind)?;
    function(tcp, "[method]tcp-socket.finish-bind", |store, (socket,): (Socket,)| {
        turn(store, &socket, ErrorCode::NotInProgress, |stage| match stage {
            Stage::BindStarted(listener) => Ok(Stage::Bound(listener)),
            stage => Err(stage),
        })
    })?;
    function(tcp, "[method]tcp-socket.start-listen", |store, (socket,): (Socket,)| {
        start(store, &socket)?;
        turn(store, &socket, ErrorCode::InvalidState, |stage| match stage {
            Stage::Bound(listener) => Ok(Stage::ListenStarted(listener)),
            stage => Err(stage),
        })
    })?;
    function(tcp, "[method]tcp-socket.finish-listen", |store, (socket,): (Socket,)| {
        turn(store, &socket, ErrorCode::NotInProgress, |stage| match stage {
            Stage::ListenStarted(listener) => Ok(Stage::Listening(listener)),
            stage => Err(stage),
        })
    })?;
    function(tcp, "[method]tcp-socket.start-connect", start_connect)?;
    function(tcp, "[method]tcp-socket.finish-connect", finish_connect)?;
    function(tcp, "[method]tcp-socket.accept", accept)?;
    function(tcp, "[method]tcp-socket.shutdown", shutdown)?;
    known(tcp)?;
    options(tcp)
}

fn known(tcp: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    function(tcp, "[method]tcp-socket.local-address", |store, (socket,): (Socket,)| -> Answer<IpSocketAddress> {
        let address = match &table_of(store).get(&socket)?.stage {
            Stage::Bound(listener) | Stage::ListenStarted(listener) | Stage::Listening(listener) => {
                listener.local_address()
            }
            Stage::Connected(connection) => connection.stream.local_address(),
            _ => return Err(ErrorCode::InvalidState.into()),
        };
        Ok(address.map_err(|error| errors::of_io(&error))?.into())
    })?;
    function(tcp, "[method]tcp-socket.remote-address", |store, (socket,): (Socket,)| -> Answer<IpSocketAddress> {
        let connection = table_of(store).get(&socket)?.connection()?;
        Ok(connection.stream.peer_address().map_err(|error| errors::of_io(&error))?.into())
    })?;
    tcp.func_wrap("[method]tcp-socket.is-listening", |mut store: StoreContextMut<'_, State>, (socket,): (Socket,)| {
        Ok((table_of(&mut store).get(&socket)?.listener().is_ok(),))
    })?;
    tcp.func_wrap("[method]tcp-socket.address-family", |mut store: StoreContextMut<'_, State>, (socket,): (Socket,)| {
        Ok((table_of(&mut store).get(&socket)?.family,))
    })
}

fn options(tcp: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    options::none::<TcpSocket, u64>(tcp, "tcp-socket", &["keep-alive-idle-time", "keep-alive-interval"])?;
    options::none::<TcpSocket, u64>(tcp, "tcp-socket", &["receive-buffer-size", "send-buffer-size"])?;
    options::none::<TcpSocket, bool>(tcp, "tcp-socket", &["keep-alive-enabled"])?;
    options::none::<TcpSocket, u32>(tcp, "tcp-socket", &["keep-alive-count"])?;
    options::none::<TcpSocket, u8>(tcp, "tcp-socket", &["hop-limit"])?;
    // How many wait to be accepted is the system's to say, and asking for a number fails nobody's `listen`.
    function(
        tcp,
        "[method]tcp-socket.set-listen-backlog-size",
        |_store, (_socket, most): (Socket, u64)| -> Answer<()> {
            if most == 0 { Err(ErrorCode::InvalidArgument.into()) } else { Ok(()) }
        },
    )
}

/// Has a socket come from one stage to the next, or stay where it is.
fn turn(
    store: &mut StoreContextMut<'_, State>,
    socket: &Socket,
    otherwise: ErrorCode,
    next: impl FnOnce(Stage) -> Result<Stage, Stage>,
) -> Answer<()> {
    let socket = table_of(store).get_mut(socket)?;
    let (stage, answer) = match next(std::mem::replace(&mut socket.stage, Stage::Closed)) {
        Ok(stage) => (stage, Ok(())),
        Err(stage) => (stage, Err(otherwise.into())),
    };
    socket.stage = stage;
    answer
}

/// # Errors
/// [`ErrorCode::ConcurrencyConflict`] while what was started before is not finished.
fn start(store: &mut StoreContextMut<'_, State>, socket: &Socket) -> Answer<()> {
    let is_started = table_of(store).get(socket)?.stage.is_started();
    if is_started { Err(ErrorCode::ConcurrencyConflict.into()) } else { Ok(()) }
}

/// The system has no socket that is bound and does not accept, but one that nobody has connected to: so it accepts from here on.
fn start_bind(
    store: &mut StoreContextMut<'_, State>,
    (socket, _network, address): (Socket, Resource<Network>, IpSocketAddress),
) -> Answer<()> {
    start(store, &socket)?;
    let address = SocketAddr::from(address);
    let own = table_of(store).get(&socket)?;
    if !matches!(own.stage, Stage::New) {
        return Err(ErrorCode::InvalidState.into());
    }
    if !suits(own.family, address) {
        return Err(ErrorCode::InvalidArgument.into());
    }
    let access = access(store.data(), Wanted::Address(Protocol::Tcp, Direction::Listen, address))?;
    let listener = TcpListener::bind(&access, address).map_err(|error| errors::code(store.data(), &error))?;
    table_of(store).get_mut(&socket)?.stage = Stage::BindStarted(Arc::new(listener));
    Ok(())
}

fn start_connect(
    store: &mut StoreContextMut<'_, State>,
    (socket, _network, address): (Socket, Resource<Network>, IpSocketAddress),
) -> Answer<()> {
    start(store, &socket)?;
    let address = SocketAddr::from(address);
    let own = table_of(store).get(&socket)?;
    match own.stage {
        // One that is bound accepts.
        Stage::Bound(_) => return Err(ErrorCode::NotSupported.into()),
        Stage::New if suits(own.family, address) && !address.ip().is_unspecified() && address.port() != 0 => {}
        Stage::New => return Err(ErrorCode::InvalidArgument.into()),
        _ => return Err(ErrorCode::InvalidState.into()),
    }
    let access = access(store.data(), Wanted::Address(Protocol::Tcp, Direction::Connect, address))?;
    table_of(store).get_mut(&socket)?.connect(access, address);
    Ok(())
}

fn finish_connect(store: &mut StoreContextMut<'_, State>, (socket,): (Socket,)) -> Answer<Streams> {
    let own = table_of(store).get_mut(&socket)?;
    own.look();
    // What has come waits until there is room for its streams.
    if matches!(own.stage, Stage::ConnectOver(Ok(_))) && !has_room(store, 2) {
        return Err(ErrorCode::NewSocketLimit.into());
    }
    let own = table_of(store).get_mut(&socket)?;
    match std::mem::replace(&mut own.stage, Stage::Closed) {
        Stage::ConnectOver(Ok(stream)) => {
            let stream = Connection::new(stream);
            own.stage = Stage::Connected(Arc::clone(&stream));
            Ok(streams(store, &stream)?)
        }
        Stage::ConnectOver(Err(error)) => Err(errors::code(store.data(), &error).into()),
        stage => {
            let code = match stage {
                Stage::Connecting(_) => ErrorCode::WouldBlock,
                _ => ErrorCode::NotInProgress,
            };
            own.stage = stage;
            Err(code.into())
        }
    }
}

fn accept(
    store: &mut StoreContextMut<'_, State>,
    (socket,): (Socket,),
) -> Answer<(Socket, Resource<DynInputStream>, Resource<DynOutputStream>)> {
    let own = table_of(store).get(&socket)?;
    let family = own.family;
    let listener = Arc::clone(own.listener()?);
    // One that there is no room for stays where the system keeps it.
    if !has_room(store, 3) {
        return Err(ErrorCode::NewSocketLimit.into());
    }
    let stream = match listener.accept_now().map_err(|error| errors::code(store.data(), &error))? {
        Tried::Done(stream) => Connection::new(stream),
        // Who waits for the next one does so by a pollable.
        Tried::Wait(_) => return Err(ErrorCode::WouldBlock.into()),
    };
    let accepted = TcpSocket { family, stage: Stage::Connected(Arc::clone(&stream)) };
    let accepted = table_of(store).push(accepted)?;
    let (input, output) = streams(store, &stream)?;
    Ok((accepted, input, output))
}

fn shutdown(store: &mut StoreContextMut<'_, State>, (socket, how): (Socket, ShutdownType)) -> Answer<()> {
    let how = match how {
        ShutdownType::Receive => Shutdown::Read,
        ShutdownType::Send => Shutdown::Write,
        ShutdownType::Both => Shutdown::Both,
    };
    let connection = table_of(store).get(&socket)?.connection()?;
    Ok(connection.shutdown(how).map_err(|error| errors::of_io(&error))?)
}

fn streams(store: &mut StoreContextMut<'_, State>, stream: &Arc<Connection>) -> wasmtime::Result<Streams> {
    let input: DynInputStream = Box::new(Input(Arc::clone(stream)));
    let output: DynOutputStream = Box::new(Output(Arc::clone(stream)));
    let table = table_of(store);
    Ok((table.push(input)?, table.push(output)?))
}
