//! Which connections count as one client, and from where a request comes.
//!
//! All connections of an address are one client: more of them bring it no larger share. Behind a proxy there are many
//! clients, and so there may be behind loopback: there each connection counts for itself.

use crate::budget::shares::{Account, Accounts};
use hyper::HeaderMap;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bits of an IPv6 address that one client is given as a whole.
const CLIENT_BITS: u32 = 64;

/// An address, or those that begin with the same bits: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// What is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a network such as 10.0.0.0/8")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| NotANetwork)?;
        if bits <= width { Ok(Self { address, bits }) } else { Err(NotANetwork) }
    }
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Of the connection's other end; of its client, when that is a proxy of the settings.
    pub address: IpAddr,
    /// Proxies rarely tell it.
    pub port: Option<u16>,
}

impl From<SocketAddr> for Peer {
    fn from(socket: SocketAddr) -> Self {
        Self { address: socket.ip().to_canonical(), port: Some(socket.port()) }
    }
}

/// `10.0.0.7:51544`, or `10.0.0.7` when the port is unknown.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// What proxies name clients in, each at the end of what it was sent.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The accounts of all connected clients.
#[derive(Debug)]
pub(crate) struct Peers {
    proxies: Vec<Network>,
    accounts: Mutex<HashMap<IpAddr, Weak<Account>>>,
}

impl Peers {
    pub(crate) fn new(proxies: &[Network]) -> Self {
        Self { proxies: proxies.to_vec(), accounts: Mutex::default() }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.has(address))
    }

    /// From where a request comes: as far back as proxies of the settings tell, and no further, since others may make up
    /// what they like.
    pub(crate) fn peer(&self, socket: SocketAddr, headers: &HeaderMap) -> Peer {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut told = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')).map(forwarded);
        let mut peer = Peer::from(socket);
        while self.is_proxy(peer.address) {
            let Some(Some(before)) = told.next() else { break };
            peer = before;
        }
        peer
    }

    /// What a new connection from this address counts in.
    pub(crate) fn accounts(&self, address: IpAddr) -> Accounts {
        Accounts { client: self.account(address), namespace: None }
    }

    fn account(&self, address: IpAddr) -> Arc<Account> {
        let address = address.to_canonical();
        if address.is_loopback() || self.is_proxy(address) {
            return Arc::default();
        }
        let client = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> (128 - CLIENT_BITS) << (128 - CLIENT_BITS)))
            }
        };
        // A panic leaves the map whole: every change to it is one call.
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&client).and_then(Weak::upgrade) {
            return account;
        }
        // Accounts of clients that are gone are removed when a client comes.
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Arc::default();
        accounts.insert(client, Arc::downgrade(&account));
        account
    }
}

/// An address of [`FORWARDED_FOR`], to which some proxies add the port.
fn forwarded(text: &[u8]) -> Option<Peer> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let address = || text.parse().ok().map(|address: IpAddr| Peer { address: address.to_canonical(), port: None });
    address().or_else(|| text.parse::<SocketAddr>().ok().map(Peer::from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn together(proxies: &[&str], one: &str, other: &str) -> bool {
        let proxies: Vec<Network> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let peers = Peers::new(&proxies);
        let accounts = [one, other].map(|address| peers.account(address.parse().unwrap()));
        Arc::ptr_eq(&accounts[0], &accounts[1])
    }

    #[test]
    fn connections_of_an_address_count_together_and_those_of_proxies_each_for_itself() {
        assert!(together(&[], "10.0.0.1", "10.0.0.1"));
        assert!(together(&[], "10.0.0.1", "::ffff:10.0.0.1"));
        assert!(together(&[], "fd00::1", "fd00::2"));
        assert!(!together(&[], "10.0.0.1", "10.0.0.2"));
        assert!(!together(&[], "fd00::1", "fd00:0:0:1::1"));
        for loopback in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(!together(&[], loopback, loopback));
        }
        for proxy in ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.0/31"] {
            assert!(!together(&[proxy], "10.0.0.1", "10.0.0.1"), "{proxy}");
        }
        for other in ["10.0.0.2", "10.0.0.2/31", "11.0.0.0/8", "fd00::/8", "::/0"] {
            assert!(together(&[other], "10.0.0.1", "10.0.0.1"), "{other}");
        }
        assert!(!together(&["fd00::/8"], "fd12::1", "fd12::1"));
    }

    fn origin(proxies: &[&str], socket: &str, forwarded: &[&str]) -> String {
        let proxies: Vec<Network> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        Peers::new(&proxies).peer(socket.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_request_comes_from_whom_the_nearest_proxy_that_is_not_ours_was_seen_as() {
        let ours = ["10.0.0.0/8", "fd00::/8"];
        for (forwarded, expected) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["198.51.100.7:1234"], "198.51.100.7:1234"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]:1234"], "[2001:db8::7]:1234"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["198.51.100.7, 10.0.0.2,fd00::3"], "198.51.100.7"),
            (&["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            // Made up by the client, before what proxies have added.
            (&["192.0.2.1, 198.51.100.7"], "198.51.100.7"),
            (&["192.0.2.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            // All of it is ours, or can't be read: as far back as that.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["198.51.100.7,"], "10.0.0.1:50000"),
            (&[""], "10.0.0.1:50000"),
            (&[], "10.0.0.1:50000"),
        ] {
            assert_eq!(origin(&ours, "10.0.0.1:50000", forwarded), expected, "{forwarded:?}");
            assert_eq!(origin(&[], "10.0.0.1:50000", forwarded), "10.0.0.1:50000", "{forwarded:?}");
        }
        assert_eq!(origin(&ours, "[::ffff:10.0.0.1]:50000", &["198.51.100.7"]), "198.51.100.7");
        // Any program of the machine is on loopback: a proxy there is one when the settings say so.
        assert_eq!(origin(&ours, "127.0.0.1:50000", &["198.51.100.7"]), "127.0.0.1:50000");
        assert_eq!(origin(&["127.0.0.1"], "127.0.0.1:50000", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let peers = Peers::new(&[]);
        for last in 0..100 {
            peers.account(IpAddr::from([10, 0, 0, last]));
        }
        assert_eq!(peers.accounts.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "example", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/-1", "/8", "10.0.0"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
