//! Grants: what of the network a program may use. Everything that is not granted is denied.
//!
//! A grant is a text: `PROTOCOL:DIRECTION:HOST:PORT`, `SCHEME:HOST:PORT`, `dns`, or `*` for all there is.
//!
//! - The protocol is `tcp`, `tls` or `udp`. What `tcp` grants is granted for `tls`, too.
//! - The scheme is `http` or `https`, for requests and nothing else: who has it has no socket of its own. What `tcp` grants is granted
//!   for both, and what `tls` grants for `https`.
//! - The direction is `listen`, with the address to listen on, or `connect`, with the one to reach; left out it is both.
//! - The host is an address, a network such as `10.0.0.0/8`, or `*`; an IPv6 one is in brackets. For `tls:connect`, and for a scheme, it
//!   may be a name, or `*.` and the end of one.
//! - The port is a number, a range such as `5000-6000`, or `*`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Most grants of a list.
const MAX_GRANTS: usize = 32;
/// Longest grant, in bytes.
const MAX_BYTES: usize = 300;

/// What is sent, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Tls,
    Udp,
    /// Requests in the clear.
    Http,
    /// Requests by TLS.
    Https,
}

/// Who comes to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Listen,
    Connect,
}

/// Something that has to be granted: shown, it is the grant that is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    Dns,
    /// Port 0 is one that the system chooses.
    Address(Protocol, Direction, SocketAddr),
    /// A connection by TLS, or a request, to a host of this name.
    Name(Protocol, &'a str, u16),
}

/// A list of grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Grant {
    All,
    Dns,
    Sockets { protocol: Protocol, direction: Option<Direction>, host: Host, ports: (u16, u16) },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// An address, and how many of its bits count.
    Network(IpAddr, u8),
    /// A name, or what names end with; in lower case.
    Name(String),
    Under(String),
}

impl Grants {
    /// All there is.
    #[must_use]
    pub fn all() -> Self {
        Grants(vec![Grant::All])
    }

    /// The grants of these texts.
    ///
    /// # Errors
    /// The first text that is none, and what it has to be.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let grants = texts.into_iter().map(|text| text.parse().map_err(|()| expectation(text)));
        let grants: Vec<Grant> = grants.collect::<Result<_, _>>()?;
        if grants.len() > MAX_GRANTS { Err(format!("there may be {MAX_GRANTS} grants")) } else { Ok(Grants(grants)) }
    }

    /// Is nothing granted?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|grant| size_of::<Grant>().saturating_add(grant.name_bytes())).fold(0, usize::saturating_add)
    }

    /// The first of these texts that grants what is not granted here.
    #[must_use]
    pub fn first_beyond<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let covered =
            |text: &str| text.parse().is_ok_and(|asked: Grant| self.0.iter().any(|grant| grant.covers(&asked)));
        texts.into_iter().find(|text| !covered(text))
    }

    pub(crate) fn allow(&self, wanted: Wanted<'_>) -> bool {
        self.0.iter().any(|grant| grant.allows(wanted))
    }
}

fn expectation(text: &str) -> String {
    let shown: String = text.chars().take(MAX_BYTES).collect();
    format!(
        "{shown:?} is no grant: one is like tcp:listen:127.0.0.1:8080, https:*.example.com:443, udp:*:5000-6000 or dns"
    )
}

impl Grant {
    fn name_bytes(&self) -> usize {
        match self {
            Grant::Sockets { host: Host::Name(name) | Host::Under(name), .. } => name.len(),
            _ => 0,
        }
    }

    fn allows(&self, wanted: Wanted<'_>) -> bool {
        let Grant::Sockets { protocol, direction, host, ports } = self else {
            return *self == Grant::All || wanted == Wanted::Dns;
        };
        match wanted {
            Wanted::Dns => false,
            Wanted::Name(asked, name, port) => {
                protocol.covers(asked)
                    && *direction != Some(Direction::Listen)
                    && holds(*ports, port)
                    && host.has_name(*protocol, name)
            }
            Wanted::Address(asked, to, address) => {
                let ip = address.ip().to_canonical();
                if !protocol.covers(asked) {
                    return false;
                }
                // Who may send datagrams needs a socket for that, on a port of the system's choice.
                if asked == Protocol::Udp && to == Direction::Listen && address.port() == 0 {
                    return *direction != Some(Direction::Listen) || (*ports == EVERY_PORT && host.has(ip));
                }
                let port = if address.port() == 0 { *ports == EVERY_PORT } else { holds(*ports, address.port()) };
                direction.is_none_or(|own| own == to) && port && host.has(ip)
            }
        }
    }

    fn covers(&self, other: &Grant) -> bool {
        match (self, other) {
            (Grant::All, _) | (Grant::Dns, Grant::Dns) => true,
            (
                Grant::Sockets { protocol, direction, host, ports },
                Grant::Sockets { protocol: asked, direction: to, host: hosts, ports: (first, last) },
            ) => {
                // Of a name `tcp` has no lookup: what it grants for requests are addresses.
                let has_hosts = *protocol != Protocol::Tcp || !asked.is_request() || matches!(hosts, Host::Network(..));
                protocol.covers(*asked)
                    && (direction.is_none() || direction == to)
                    && has_hosts
                    && host.covers(hosts)
                    && holds(*ports, *first)
                    && holds(*ports, *last)
            }
            _ => false,
        }
    }
}

const EVERY_PORT: (u16, u16) = (0, u16::MAX);

fn holds((first, last): (u16, u16), port: u16) -> bool {
    (first..=last).contains(&port)
}

impl Protocol {
    fn covers(self, other: Protocol) -> bool {
        match self {
            Protocol::Tcp => other != Protocol::Udp,
            Protocol::Tls => matches!(other, Protocol::Tls | Protocol::Https),
            Protocol::Udp | Protocol::Http | Protocol::Https => self == other,
        }
    }

    /// Is it the scheme of requests?
    fn is_request(self) -> bool {
        matches!(self, Protocol::Http | Protocol::Https)
    }
}

impl Host {
    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Host::Any => true,
            Host::Network(network, bits) => within(ip, *network, *bits),
            Host::Name(_) | Host::Under(_) => false,
        }
    }

    /// By the name alone: whoever has `tls:connect:*:443`, or `https:*:443`, need not be granted that the name is looked up.
    fn has_name(&self, protocol: Protocol, name: &str) -> bool {
        match self {
            Host::Any => protocol != Protocol::Tcp,
            Host::Network(..) => false,
            Host::Name(own) => own.eq_ignore_ascii_case(name),
            Host::Under(end) => {
                let name = name.to_ascii_lowercase();
                name.strip_suffix(end.as_str()).is_some_and(|start| start.len() > 1 && start.ends_with('.'))
            }
        }
    }

    fn covers(&self, other: &Host) -> bool {
        match (self, other) {
            (Host::Any, _) => true,
            (Host::Network(own, bits), Host::Network(network, longer)) => {
                longer >= bits && within(*network, *own, *bits)
            }
            (Host::Name(own), Host::Name(name)) => own == name,
            (Host::Under(_), Host::Name(name)) => self.has_name(Protocol::Tls, name),
            (Host::Under(own), Host::Under(end)) => end == own || self.has_name(Protocol::Tls, end),
            _ => false,
        }
    }
}

/// Have the two addresses their first bits in common?
fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (ip, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    (one ^ other).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

impl FromStr for Grant {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "*" => return Ok(Grant::All),
            "dns" => return Ok(Grant::Dns),
            _ if text.len() > MAX_BYTES => return Err(()),
            _ => {}
        }
        let (protocol, rest) = text.split_once(':').ok_or(())?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "tls" => Protocol::Tls,
            "udp" => Protocol::Udp,
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            _ => return Err(()),
        };
        let is_request = protocol.is_request();
        let (direction, rest) = match (rest.strip_prefix("listen:"), rest.strip_prefix("connect:")) {
            _ if is_request => (Some(Direction::Connect), rest),
            (Some(rest), _) => (Some(Direction::Listen), rest),
            (_, Some(rest)) => (Some(Direction::Connect), rest),
            _ => (None, rest),
        };
        let (host, ports) = rest.rsplit_once(':').ok_or(())?;
        let (host, ports) = (self::host(host)?, self::ports(ports)?);
        let named = matches!(host, Host::Name(_) | Host::Under(_));
        if named && !is_request && (protocol, direction) != (Protocol::Tls, Some(Direction::Connect)) {
            return Err(());
        }
        Ok(Grant::Sockets { protocol, direction, host, ports })
    }
}

fn ports(text: &str) -> Result<(u16, u16), ()> {
    let port = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map_err(|_| ()).and_then(|port: u16| if port == 0 { Err(()) } else { Ok(port) }),
        false => Err(()),
    };
    if text == "*" {
        return Ok(EVERY_PORT);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first <= last { Ok((first, last)) } else { Err(()) }
}

fn host(text: &str) -> Result<Host, ()> {
    if text == "*" {
        return Ok(Host::Any);
    }
    let inner = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let (ip, bits) = match inner.unwrap_or(text).split_once('/') {
        Some((ip, bits)) => (ip, Some(bits)),
        None => (inner.unwrap_or(text), None),
    };
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return if inner.is_some() || bits.is_some() { Err(()) } else { name(text) };
    };
    // Without brackets nobody could tell where the port begins.
    if ip.is_ipv6() != inner.is_some() || ip.to_canonical() != ip {
        return Err(());
    }
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| ()))?;
    if bits <= width { Ok(Host::Network(ip, bits)) } else { Err(()) }
}

fn name(text: &str) -> Result<Host, ()> {
    let lower = text.to_ascii_lowercase();
    let (rest, under) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |rest| (rest, true));
    let fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    // What ends with a number is meant to be an address.
    let number = rest.rsplit('.').next().is_none_or(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if number || rest.len() > 253 || !rest.split('.').all(fits) {
        return Err(());
    }
    Ok(if under { Host::Under(rest.to_owned()) } else { Host::Name(rest.to_owned()) })
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Dns => f.write_str("dns"),
            Wanted::Name(protocol, name, port) => write!(f, "{}:{name}:{port}", start(*protocol, Direction::Connect)),
            Wanted::Address(protocol, direction, address) => {
                let start = start(*protocol, *direction);
                match address.ip().to_canonical() {
                    IpAddr::V4(ip) => write!(f, "{start}:{ip}:")?,
                    IpAddr::V6(ip) => write!(f, "{start}:[{ip}]:")?,
                }
                if address.port() == 0 { f.write_str("*") } else { write!(f, "{}", address.port()) }
            }
        }
    }
}

/// What a grant begins with, before its host.
fn start(protocol: Protocol, direction: Direction) -> &'static str {
    match (protocol, direction) {
        (Protocol::Tcp, Direction::Listen) => "tcp:listen",
        (Protocol::Tcp, Direction::Connect) => "tcp:connect",
        (Protocol::Tls, Direction::Listen) => "tls:listen",
        (Protocol::Tls, Direction::Connect) => "tls:connect",
        (Protocol::Udp, Direction::Listen) => "udp:listen",
        (Protocol::Udp, Direction::Connect) => "udp:connect",
        (Protocol::Http, _) => "http",
        (Protocol::Https, _) => "https",
    }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
