//! The functions of `wasi:sockets`: networks, names, and how sockets are made.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, IpAddressFamily};

use super::access::{Answer, Network, access};
use super::lookup::Lookup;
use super::tcp::TcpSocket;
use super::udp::UdpSocket;
use super::{errors, tcp_linked, udp_linked};
use crate::abi::component::define::{Text, function, resource, waitable};
use crate::abi::component::table::table_of;
use crate::abi::slots::State;
use crate::base::grants::Wanted;

/// Defines all interfaces.
pub(in crate::abi::component) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    resource::<Network>(&mut linker.instance("wasi:sockets/network@0.2.12")?, "network")?;
    let mut own = linker.instance("wasi:sockets/instance-network@0.2.12")?;
    own.func_wrap("instance-network", |mut store: StoreContextMut<'_, State>, (): ()| {
        Ok((table_of(&mut store).push(Network)?,))
    })?;
    let mut tcp = linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?;
    function(&mut tcp, "create-tcp-socket", |store, (family,): (IpAddressFamily,)| -> Answer<_> {
        Ok(table_of(store).push(TcpSocket::new(family))?)
    })?;
    let mut udp = linker.instance("wasi:sockets/udp-create-socket@0.2.12")?;
    function(&mut udp, "create-udp-socket", |store, (family,): (IpAddressFamily,)| -> Answer<_> {
        Ok(table_of(store).push(UdpSocket::new(family))?)
    })?;
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    waitable::<Lookup>(&mut names, "resolve-address-stream")?;
    function(&mut names, "resolve-addresses", resolve)?;
    function(&mut names, "[method]resolve-address-stream.resolve-next-address", next)?;
    tcp_linked::link(&mut linker.instance("wasi:sockets/tcp@0.2.12")?)?;
    udp_linked::link(&mut linker.instance("wasi:sockets/udp@0.2.12")?)
}

fn resolve(
    store: &mut StoreContextMut<'_, State>,
    (_network, name): (Resource<Network>, Text),
) -> Answer<Resource<Lookup>> {
    let lookup = match Lookup::of_text(&name) {
        Some(found) => found,
        None => {
            let access = access(store.data(), Wanted::Dns)?;
            Lookup::new(access, &name).map_err(|error| errors::code(store.data(), &error))?
        }
    };
    Ok(table_of(store).push(lookup)?)
}

fn next(store: &mut StoreContextMut<'_, State>, (lookup,): (Resource<Lookup>,)) -> Answer<Option<IpAddress>> {
    let lookup = table_of(store).get_mut(&lookup)?;
    lookup.look();
    let failed = match lookup {
        Lookup::Asked(_) => return Err(ErrorCode::WouldBlock.into()),
        Lookup::Found(addresses) => return Ok(addresses.next().map(IpAddress::from)),
        Lookup::Failed(error) => error.take(),
    };
    Err(failed.map_or(ErrorCode::NameUnresolvable, |error| errors::code(store.data(), &error)).into())
}
