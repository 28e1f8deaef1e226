//! Names of hosts to addresses, by the system's resolver: on a thread of the I/O runtime, for it blocks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::access::Access;
use super::error::NetError;
use crate::base::grants::Wanted;

/// Longest name of a host.
const MAX_NAME_BYTES: usize = 253;
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
    let (name, port) = text.rsplit_once(':').ok_or_else(|| bad(text))?;
    lookup(access, name, port.parse().map_err(|_| bad(text))?).await
}

/// The addresses of a host, whatever is granted.
pub(super) async fn lookup(access: &Access, name: &str, port: u16) -> Result<Vec<SocketAddr>, NetError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(['\0', ' ']) {
        return Err(bad(name));
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

fn bad(name: &str) -> NetError {
    NetError::Name { name: name.chars().take(MAX_NAME_BYTES).collect() }
}
