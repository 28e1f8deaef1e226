//! Which names the server answers to.
//!
//! A web page can have its own name resolved to this machine, and its browser then takes what is here for the page's own
//! site ("DNS rebinding"). Such a request names the page's host. It takes a name that is resolved, so addresses always pass.

use crate::edge::config::{Config, Serves};
use crate::message::refusal::{Refusal, shown};
use hyper::header::HOST;
use hyper::{Request, Version};
use std::net::{IpAddr, Ipv6Addr};
use tidepool_errors::Reason;

/// The hosts that requests may be for.
#[derive(Debug)]
pub(crate) enum Hosts {
    /// Any.
    Any,
    /// Addresses, names of loopback, and these.
    Named(Vec<String>),
}

impl Hosts {
    /// Without names in the settings: any, unless the server listens on loopback, where nobody but this machine's own
    /// programs should ask for it, a browser among them.
    pub(crate) fn new(config: &Config) -> Self {
        // Sites are told apart by their routes.
        let open = config.serves == Serves::Sites || config.hosts.is_empty() && !config.address.ip().is_loopback();
        if open || config.hosts.iter().any(|name| name == "*") { Self::Any } else { Self::Named(config.hosts.clone()) }
    }

    /// Lets a request pass that names one host, this server's.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidHost`] when it names none or two, [`Reason::UnknownHost`] when it names another.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (header, second) = (headers.next(), headers.next());
        let authority = request.uri().authority();
        let needed = match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => false,
            Version::HTTP_11 => header.is_none(),
            _ => header.is_none() && authority.is_none(),
        };
        if needed || second.is_some() {
            return Err(Refusal::new(Reason::InvalidHost, "send one Host header: the name or address of this server"));
        }
        let given = [header.map(|header| header.as_bytes()), authority.map(|authority| authority.as_str().as_bytes())];
        match given.into_iter().flatten().find(|given| !self.has(given)) {
            None => Ok(()),
            Some(stranger) => Err(unknown(stranger)),
        }
    }

    fn has(&self, given: &[u8]) -> bool {
        let Self::Named(names) = self else { return true };
        let Some(host) = std::str::from_utf8(given).ok().and_then(without_port) else { return false };
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        matches!(host.parse::<IpAddr>(), Ok(IpAddr::V4(_)))
            || is_localhost(name)
            || names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// `localhost` and what is below it never leave the machine.
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// `host` of `host:port`, and of `host`.
fn without_port(given: &str) -> Option<&str> {
    let end = given.rfind(']').unwrap_or_default();
    match given.get(end..)?.find(':') {
        None => Some(given),
        Some(colon) => {
            let (host, port) = given.split_at_checked(end.saturating_add(colon))?;
            port.bytes().skip(1).all(|byte| byte.is_ascii_digit()).then_some(host)
        }
    }
}

fn unknown(given: &[u8]) -> Refusal {
    let message =
        "this server doesn't go by that name: add it to the setting `hosts` (TIDEPOOL_HOSTS), or ask by address";
    Refusal::new(Reason::UnknownHost, message).with("host", shown(&String::from_utf8_lossy(given)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn verdict(hosts: &[&str], address: [u8; 4], given: &str) -> Option<Reason> {
        let hosts = hosts.iter().map(|&name| name.to_owned()).collect();
        let config = Config { hosts, address: SocketAddr::from((address, 4000)), ..crate::settings::config() };
        let request = Request::builder().uri("/call/f").header(HOST, given).body(()).unwrap();
        Hosts::new(&config).check(&request).err().map(|refusal| refusal.reason)
    }

    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

    #[test]
    fn on_loopback_only_addresses_and_its_own_names_pass() {
        for own in [
            "localhost",
            "LocalHost:4000",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:4000",
            "127.9.9.9",
            "[::1]:4000",
            "10.0.0.5",
        ] {
            assert_eq!(verdict(&[], LOOPBACK, own), None, "{own}");
        }
        let strangers = [
            "evil.example",
            "evil.example:4000",
            "localhost.evil.example",
            "evil.example.:4000",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "localhost@evil.example",
            "localhost:80@evil.example",
            "evil.example:localhost",
            "[::1].evil.example",
            "[evil.example]",
            "::1",
            "0x7f.1",
            "",
            ":4000",
        ];
        for stranger in strangers {
            assert_eq!(verdict(&[], LOOPBACK, stranger), Some(Reason::UnknownHost), "{stranger}");
        }
    }

    #[test]
    fn names_of_the_settings_pass_beside_them_on_any_address() {
        for address in [LOOPBACK, [0, 0, 0, 0]] {
            for (given, refused) in [("tide.example", false), ("Tide.Example.:80", false), ("a.tide.example", true)] {
                let expected = refused.then_some(Reason::UnknownHost);
                assert_eq!(verdict(&["tide.example"], address, given), expected, "{given}");
            }
            assert_eq!(verdict(&["*"], address, "evil.example"), None);
        }
    }

    #[test]
    fn an_address_that_others_reach_answers_to_any_name_unless_the_settings_have_some() {
        assert_eq!(verdict(&[], [0, 0, 0, 0], "tide.example"), None);
        assert_eq!(verdict(&["tide.example"], [0, 0, 0, 0], "evil.example"), Some(Reason::UnknownHost));
    }
}
