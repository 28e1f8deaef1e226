//! From a server's name to a connection with it.

use std::sync::Arc;

use super::connection::{Connection, Protocol as Speaks};
use super::failure::Failure;
use super::io::{Io, Socket};
use super::server::Server;
use crate::base::grants::Protocol;
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::tcp::TcpStream;
use crate::net::tls::TlsStream;

/// What TLS calls the protocols.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Connects, where that is granted. By TLS it is the server by these certificates (PEM), or by the usual roots without any, and
/// what it speaks is said there. Connections that wait for requests to other servers make room.
///
/// # Errors
/// As of [`TlsStream::connect`] and [`TcpStream::connect_to`].
pub(super) async fn connect(access: &Access, server: &Server, certs: &[Vec<u8>]) -> Result<Connection, Failure> {
    let place = access.pool().place();
    let protocols: &[&[u8]] = if place.is_some() { &[HTTP2, HTTP1] } else { &[HTTP1] };
    let socket = match socket(access, server, certs, protocols).await {
        Err(NetError::ProgramFull { .. } | NetError::NodeFull { .. }) => {
            access.pool().clear().await;
            socket(access, server, certs, protocols).await
        }
        socket => socket,
    };
    let socket = socket?;
    let agreed = if let Socket::Tls(stream) = &socket { stream.protocol() } else { None };
    let speaks = match place {
        Some(place) if agreed.as_deref() == Some(HTTP2) => Speaks::Http2(place),
        _ => Speaks::Http1,
    };
    Ok(Connection::open(Io::new(socket), speaks, access.io()).await?)
}

async fn socket(access: &Access, server: &Server, certs: &[Vec<u8>], protocols: &[&[u8]]) -> Result<Socket, NetError> {
    let Server { is_secure, host, port } = server;
    Ok(if *is_secure {
        Socket::Tls(Arc::new(TlsStream::connect(access, Protocol::Https, (host, *port), certs, protocols).await?))
    } else {
        Socket::Plain(Arc::new(TcpStream::connect_to(access, Protocol::Http, host, *port).await?))
    })
}
