//! A TCP server: reads what it expects, sends what it has, closes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::{announce, listen};
use crate::content::{Expect, Verdict};
use crate::error::InputError;

/// What the server does with each connection.
#[derive(Debug, Clone)]
pub(crate) struct TcpService {
    /// What it reads first.
    pub(crate) expect: Expect,
    /// What it then sends.
    pub(crate) send: Bytes,
    /// Whether it leaves closing to the client.
    pub(crate) linger_for_client: bool,
    /// How long a connection may take.
    pub(crate) timeout: Duration,
}

/// Starts the acceptors, one thread and one listener each.
///
/// # Errors
/// [`InputError::Listen`] when the port can't be had.
pub(crate) fn start(addr: SocketAddr, acceptors: usize, backlog: i32, service: TcpService) -> Result<(), InputError> {
    let (bound, listeners) = listen::tcp(addr, acceptors, backlog)?;
    let service = Arc::new(service);
    for listener in listeners {
        let service = Arc::clone(&service);
        std::thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
            if let Err(error) = accept(listener, &service) {
                eprintln!("tidepool-load: an acceptor ended: {error}");
            }
        })?;
    }
    announce("tcp", bound)
}

fn accept(listener: std::net::TcpListener, service: &Arc<TcpService>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, _from)) => {
                    let service = Arc::clone(service);
                    tokio::task::spawn_local(async move {
                        // What a client does to its connection is the client's to count.
                        drop(tokio::time::timeout(service.timeout, serve(stream, &service)).await);
                    });
                }
                // Out of files, or a connection gone before it was accepted: the next may be better.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
}

async fn serve(mut stream: TcpStream, service: &TcpService) -> io::Result<()> {
    let mut check = service.expect.check();
    let mut verdict = check.verdict();
    let mut buffer = Vec::new();
    while verdict == Verdict::More {
        buffer.resize(service.expect.buffer_len(), 0);
        let read = stream.read(&mut buffer).await?;
        verdict = check.take(buffer.get(..read).unwrap_or(&[]));
    }
    if verdict == Verdict::Wrong {
        // Closing with a reset tells the client apart from a good end.
        stream.set_zero_linger()?;
        return Ok(());
    }
    stream.write_all(&service.send).await?;
    if service.linger_for_client {
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
    }
    Ok(())
}
