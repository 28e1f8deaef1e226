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
    judged(access, protocol, (host, port), lookup(access, host, port)).await
}

/// The same by what is `found`, which is looked for once at most: whoever answers for a name may answer otherwise the next time, and
/// connections are made to what is returned here.
async fn judged(
    access: &Access,
    protocol: Protocol,
    (host, port): (&str, u16),
    found: impl Future<Output = Result<Vec<SocketAddr>, NetError>>,
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
    for address in found.await? {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::base::fair_share::NetworkHeld;
    use crate::base::grants::Grants;
    use crate::net::access::Network;
    use crate::settings;

    const PUBLIC: &str = "93.184.215.14:443";

    /// What comes of a request to this host, whose name has these addresses; and how often it was looked up.
    fn asked(grants: &str, host: &str, addresses: &[&str]) -> (Result<Vec<String>, String>, u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let network = Arc::new(Network::new(&settings::network(), runtime.handle().clone()));
        let grants = Arc::new(Grants::parse(grants.split_whitespace()).unwrap());
        let access = Access::new(&network, &grants, &NetworkHeld::default(), None);
        let lookups = Cell::new(0);
        let found = async {
            lookups.set(lookups.get() + 1);
            Ok(addresses.iter().map(|address| address.parse::<SocketAddr>().unwrap()).collect())
        };
        let judged = runtime.block_on(judged(&access, Protocol::Https, (host, 443), found));
        let shown = |all: Vec<SocketAddr>| all.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        let told = |error: NetError| match error {
            NetError::NotGranted { wanted } => wanted,
            other => panic!("{other}"),
        };
        (judged.map(shown).map_err(told), lookups.get())
    }

    #[test]
    fn a_name_that_answers_otherwise_the_second_time_is_judged_by_the_addresses_that_are_connected_to() {
        let rebinding = |addresses: &[&str]| asked("https:*.example.com:443", "api.example.com", addresses);
        // It is looked up once for a connection, to what was found then and to nothing else.
        assert_eq!(rebinding(&[PUBLIC]), (Ok(vec![PUBLIC.into()]), 1));
        for private in ["127.0.0.1:443", "10.1.2.3:443", "169.254.169.254:443", "[::1]:443", "[fd00::1]:443"] {
            assert_eq!(rebinding(&[private]), (Err(format!("https:{private}")), 1));
            // One of several is left out.
            assert_eq!(rebinding(&[private, PUBLIC]), (Ok(vec![PUBLIC.into()]), 1));
        }
        let mapped = rebinding(&["[::ffff:127.0.0.1]:443"]);
        assert_eq!(mapped, (Err("https:127.0.0.1:443".into()), 1));
    }

    #[test]
    fn a_name_is_looked_up_where_it_is_granted_or_dns_is_and_leads_to_what_is_granted_then() {
        let local = "127.0.0.1:443";
        for (grants, addresses, expected, lookups) in [
            ("https:a.example:443", PUBLIC, Ok(PUBLIC), 1),
            ("tls:connect:a.example:443", PUBLIC, Ok(PUBLIC), 1),
            ("https:a.example:443 https:127.0.0.0/8:443", local, Ok(local), 1),
            ("https:a.example:443 tcp:connect:127.0.0.0/8:443", local, Ok(local), 1),
            ("https:*:443", local, Ok(local), 1),
            ("dns tcp:connect:*:443", PUBLIC, Ok(PUBLIC), 1),
            ("dns https:127.0.0.1:443", local, Ok(local), 1),
            ("dns https:127.0.0.1:443", PUBLIC, Err("https:a.example:443"), 1),
            ("dns", PUBLIC, Err("https:a.example:443"), 1),
            ("tcp:connect:*:443", PUBLIC, Err("https:a.example:443"), 0),
            ("https:127.0.0.1:443", local, Err("https:a.example:443"), 0),
            ("http:a.example:443", PUBLIC, Err("https:a.example:443"), 0),
        ] {
            let expected = expected.map(|address| vec![address.to_owned()]).map_err(ToOwned::to_owned);
            assert_eq!(asked(grants, "a.example", &[addresses]), (expected, lookups), "{grants} {addresses}");
        }
        // An address is no name.
        assert_eq!(asked("https:127.0.0.1:443", "127.0.0.1", &[PUBLIC]), (Ok(vec![local.into()]), 0));
    }
}
