//! tokio, one current-thread runtime per worker.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

use super::Net;
use super::timer::FineTimer;

/// tokio.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokioNet;

impl Net for TokioNet {
    type Stream = TcpStream;
    type Timer = FineTimer;

    fn run<F: Future<Output = ()>>(self, main: F) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, main);
        Ok(())
    }

    fn spawn<F: Future<Output = ()> + 'static>(self, task: F) {
        drop(tokio::task::spawn_local(task));
    }

    fn timer(self) -> io::Result<FineTimer> {
        FineTimer::new()
    }

    async fn wait_until(self, timer: &mut FineTimer, at: Instant) -> io::Result<()> {
        timer.wait_until(at).await
    }

    async fn before<F: Future>(self, at: Instant, future: F) -> Option<F::Output> {
        tokio::time::timeout_at(at.into(), future).await.ok()
    }

    async fn connect(self, socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    }

    async fn write_all(self, stream: &mut TcpStream, content: Bytes) -> io::Result<()> {
        stream.write_all(&content).await
    }

    async fn read(self, stream: &mut TcpStream, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        (stream.read(&mut buffer).await, buffer)
    }
}
