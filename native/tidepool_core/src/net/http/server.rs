//! Servers, as URIs name them.

use http::Uri;
use http::uri::Scheme;

/// A server, as a URI names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) is_secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    /// That of a URI of `http:` or `https:`; `None` when it has none, or says who asks.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_secure = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let usual = if is_secure { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // A port that is none.
            None if authority.as_str().len() > authority.host().len() => return None,
            None => usual,
        };
        (!host.is_empty() && port != 0).then(|| Server { is_secure, host: host.to_owned(), port })
    }
}
