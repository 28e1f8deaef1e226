//! io_uring by way of compio, one ring per worker.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpSocket, TcpStream};
use compio::runtime::Runtime;
use socket2::Socket;

use super::Net;

/// io_uring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UringNet;

impl UringNet {
    /// Whether the kernel gives us a ring; the error says why not.
    pub(crate) fn probe() -> io::Result<()> {
        Runtime::new().map(drop)
    }
}

impl Net for UringNet {
    type Stream = TcpStream;
    type Timer = ();

    fn run<F: Future<Output = ()>>(self, main: F) -> io::Result<()> {
        Runtime::new()?.block_on(main);
        Ok(())
    }

    fn spawn<F: Future<Output = ()> + 'static>(self, task: F) {
        compio::runtime::spawn(task).detach();
    }

    fn timer(self) -> io::Result<()> {
        Ok(())
    }

    async fn wait_until(self, _timer: &mut (), at: Instant) -> io::Result<()> {
        compio::time::sleep_until(at).await;
        Ok(())
    }

    async fn before<F: Future>(self, at: Instant, future: F) -> Option<F::Output> {
        compio::time::timeout_at(at, future).await.ok()
    }

    async fn connect(self, socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
        TcpSocket::from_std_stream(socket.into())?.connect(to).await
    }

    async fn write_all(self, stream: &mut TcpStream, content: Bytes) -> io::Result<()> {
        stream.write_all(content).await.0
    }

    async fn read(self, stream: &mut TcpStream, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let BufResult(read, buffer) = stream.read(buffer).await;
        (read, buffer)
    }
}
