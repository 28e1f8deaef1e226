//! From a URI to a connection with its server.

use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use super::failure::Failure;
use super::io::Socket;
use crate::base::grants::Protocol;
use crate::net::access::Access;
use crate::net::tcp::TcpStream;
use crate::net::tls::TlsStream;

/// A server, as a URI names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    is_secure: bool,
    host: String,
    port: u16,
}

impl Server {
    /// That of a URI of `http:` or `https:`; `None` when it has none, or says who asks.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
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

    /// Connects, where that is granted. By TLS it is the server by these certificates (PEM), or by the usual roots without any.
    ///
    /// # Errors
    /// As of [`TlsStream::connect`] and [`TcpStream::connect_to`].
    pub(super) async fn connect(&self, access: &Access, certs: &[Vec<u8>]) -> Result<Socket, Failure> {
        let Server { is_secure, host, port } = self;
        if *is_secure {
            Ok(Socket::Tls(Arc::new(TlsStream::connect(access, host, *port, certs).await?)))
        } else {
            Ok(Socket::Plain(Arc::new(TcpStream::connect_to(access, Protocol::Tcp, host, *port).await?)))
        }
    }
}
