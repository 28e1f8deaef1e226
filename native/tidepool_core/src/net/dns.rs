//! Names of hosts to addresses, by the system's resolver: on a thread of the I/O runtime, for it blocks.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::access::Access;
use super::error::{MAX_NAME_BYTES, NetError};
use super::special::is_public;
use crate::base::grants::{Direction, Protocol, Wanted};

/// Most addresses of a name.
const MAX_ADDRESSES: usize = 64;

/// The addresses of a host and port, such as `example.com:80`. One that is an address already needs no grant.
///
/// # Errors
/// [`NetError::NotGranted`] and [`NetError::NotAllowed`], and what the resolver says.
pub(crate) async fn resolve(access: &Access, text: &str) -> Result<Vec<SocketAddr>, NetError> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    access.check(Wanted::Dns)?;
    let (name, port) = text.rsplit_once(':').ok_or_else(|| NetError::name(text))?;
    lookup(access, name, port.parse().map_err(|_| NetError::name(text))?).await
}

/// The addresses of a host that a program may connect to by this protocol: all of the internet, when it is granted the name. Each other
/// one it has to be granted, and without the name that this is looked up, too.
///
/// # Errors
/// As of [`resolve`].
pub(super) async fn granted(
    access: &Access,
    protocol: Protocol,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, NetError> {
    let granted =
        |address: SocketAddr| access.check(Wanted::Address(protocol, Direction::Connect, address)).map(|()| address);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![granted(SocketAddr::new(ip, port))?]);
    }
    let mut denied = access.check(Wanted::Name(protocol, host, port)).err();
    let is_named = denied.is_none();
    if !is_named && let Err(dns) = access.check(Wanted::Dns) {
        return Err(denied.unwrap_or(dns));
    }
    let mut all = Vec::new();
    for address in lookup(access, host, port).await? {
        // Whoever has a name says where it leads: to this machine, or to what is behind it, it has to be granted.
        let allowed = if is_named && is_public(address.ip()) { Ok(address) } else { granted(address) };
        match allowed {
            Ok(address) => all.push(address),
            Err(error) => {
                denied.get_or_insert(error);
            }
        }
    }
    match denied {
        Some(denied) if all.is_empty() => Err(denied),
        _ => Ok(all),
    }
}

/// The same of a name and a port, by a task of the I/O runtime's.
///
/// # Errors
/// [`NetError::Name`], [`NetError::NotGranted`] and [`NetError::NotAllowed`].
pub(crate) fn asked(
    access: Arc<Access>,
    name: &str,
    port: u16,
) -> Result<JoinHandle<Result<Vec<SocketAddr>, NetError>>, NetError> {
    access.check(Wanted::Dns)?;
    if name.len() > MAX_NAME_BYTES {
        return Err(NetError::name(name));
    }
    let (io, name) = (access.io().clone(), name.to_owned());
    Ok(io.spawn(async move { lookup(&access, &name, port).await }))
}

/// The addresses of a host, whatever is granted.
async fn lookup(access: &Access, name: &str, port: u16) -> Result<Vec<SocketAddr>, NetError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(['\0', ' ']) {
        return Err(NetError::name(name));
    }
    let unresolved = |error| NetError::Unresolved { name: name.to_owned(), error };
    let right = access.lookup().await.map_err(|error| unresolved(io::Error::other(error)))?;
    let host = name.to_owned();
    // The right is the lookup's: whoever asked may have gone before it ends.
    let lookup = access.io().spawn_blocking(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        drop(right);
        found.map(|addresses| addresses.take(MAX_ADDRESSES).collect::<Vec<_>>())
    });
    let found = lookup.await.map_err(io::Error::other).and_then(|found| found).map_err(unresolved)?;
    if found.is_empty() { Err(NetError::NoAddress { name: name.to_owned() }) } else { Ok(found) }
}
