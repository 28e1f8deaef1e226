//! From a server's name to a connection with it.

use std::sync::Arc;

use super::failure::Failure;
use super::io::{Io, Socket};
use super::pool::Connection;
use super::server::Server;
use crate::base::grants::Protocol;
use crate::net::access::Access;
use crate::net::error::NetError;
use crate::net::tcp::TcpStream;
use crate::net::tls::TlsStream;

/// Connects, where that is granted. By TLS it is the server by these certificates (PEM), or by the usual roots without any. Connections
/// that wait for requests to other servers make room.
///
/// # Errors
/// As of [`TlsStream::connect`] and [`TcpStream::connect_to`].
pub(super) async fn connect(access: &Access, server: &Server, certs: &[Vec<u8>]) -> Result<Connection, Failure> {
    let socket = match socket(access, server, certs).await {
        Err(NetError::ProgramFull { .. } | NetError::NodeFull { .. }) => {
            access.pool().clear().await;
            socket(access, server, certs).await
        }
        socket => socket,
    };
    Ok(Connection::open(Io::new(socket?), access.io()).await?)
}

async fn socket(access: &Access, server: &Server, certs: &[Vec<u8>]) -> Result<Socket, NetError> {
    let Server { is_secure, host, port } = server;
    Ok(if *is_secure {
        Socket::Tls(Arc::new(TlsStream::connect(access, host, *port, certs).await?))
    } else {
        Socket::Plain(Arc::new(TcpStream::connect_to(access, Protocol::Tcp, host, *port).await?))
    })
}
