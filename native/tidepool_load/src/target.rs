//! Where the load goes: names to addresses, and the guard that keeps it on this machine.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

use crate::error::InputError;

/// Resolves `HOST:PORT` and refuses what is not on the loopback unless `allowed` names it: the whole or the host.
pub(crate) fn resolve(asked: &str, allowed: Option<&str>) -> Result<SocketAddr, InputError> {
    let (host, port) = asked.rsplit_once(':').ok_or_else(|| InputError::NoAddress(asked.to_owned()))?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(InputError::NoAddress(asked.to_owned()));
    }
    let addrs: Vec<SocketAddr> =
        asked.to_socket_addrs().map_err(|source| InputError::NoSuchHost { host: host.to_owned(), source })?.collect();
    let preferred = addrs.iter().find(|addr| addr.is_ipv4()).or_else(|| addrs.first());
    let addr = *preferred.ok_or_else(|| InputError::NoAddress(asked.to_owned()))?;
    let permitted = addr.ip().to_canonical().is_loopback()
        || allowed.is_some_and(|allowed| {
            allowed == asked || allowed == host || allowed == addr.to_string() || allowed == addr.ip().to_string()
        });
    if permitted { Ok(addr) } else { Err(InputError::NotLoopback { addr, asked: asked.to_owned() }) }
}

/// Checks that every source address is this machine's and of the target's family.
pub(crate) fn check_sources(sources: &[IpAddr], target: SocketAddr) -> Result<(), InputError> {
    for &bind in sources {
        if bind.is_ipv4() != target.is_ipv4() {
            return Err(InputError::Family { bind, target });
        }
        let addr = SocketAddr::new(bind, 0);
        Socket::new(Domain::for_address(addr), Type::DGRAM, None)
            .and_then(|socket| socket.bind(&addr.into()))
            .map_err(|source| InputError::Bind { addr: bind, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_needs_no_permission() {
        for asked in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"] {
            assert!(resolve(asked, None).is_ok(), "{asked}");
        }
    }

    #[test]
    fn any_other_target_needs_permission_by_its_name() {
        // 192.0.2.0/24 is for documentation; nothing is sent.
        let asked = "192.0.2.1:80";
        assert!(matches!(resolve(asked, None), Err(InputError::NotLoopback { .. })));
        assert!(matches!(resolve(asked, Some("192.0.2.2")), Err(InputError::NotLoopback { .. })));
        assert!(matches!(resolve("0.0.0.0:80", None), Err(InputError::NotLoopback { .. })));
        assert!(resolve(asked, Some("192.0.2.1")).is_ok());
        assert!(resolve(asked, Some(asked)).is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused_by_kind() {
        for asked in ["", "127.0.0.1", "127.0.0.1:http", ":80", "127.0.0.1:70000"] {
            assert!(matches!(resolve(asked, None), Err(InputError::NoAddress(_))), "{asked}");
        }
        assert!(matches!(resolve("no-such-host.invalid:80", None), Err(InputError::NoSuchHost { .. })));
    }

    #[test]
    fn a_source_of_another_machine_is_refused() {
        let target = SocketAddr::from(([127, 0, 0, 1], 80));
        assert!(check_sources(&[IpAddr::from([127, 0, 0, 2])], target).is_ok());
        assert!(matches!(check_sources(&[IpAddr::from([192, 0, 2, 1])], target), Err(InputError::Bind { .. })));
        assert!(matches!(
            check_sources(&[IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)], target),
            Err(InputError::Family { .. })
        ));
    }
}
