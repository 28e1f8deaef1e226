//! A socket as hyper reads and writes it.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::Interest;
use tokio::task::yield_now;

use crate::net::error::NetError;
use crate::net::ready::{Ready, Wait};
use crate::net::stream::{Stream, Tried};
use crate::net::tcp::TcpStream;
use crate::net::tls::TlsStream;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 << 10;
/// What is read or written at once before all else has its turn on the thread: timers, other sockets, and who ends the request. hyper goes on
/// as long as a server sends what is for nobody, as heads of 1xx or frames of HTTP/2 that are about the connection. 16 KiB of short
/// lines of such heads take some 0.7 ms.
const PIECES: u8 = 8;

/// A connection to a server.
#[derive(Clone)]
pub(super) enum Socket {
    Plain(Arc<TcpStream>),
    Tls(Arc<TlsStream>),
}

impl Socket {
    fn try_read(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        match self {
            Socket::Plain(stream) => stream.try_read(bytes),
            Socket::Tls(stream) => stream.try_read(bytes),
        }
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> Result<Tried<usize>, NetError> {
        match self {
            Socket::Plain(stream) => stream.try_write(pieces),
            Socket::Tls(stream) => stream.try_write(pieces),
        }
    }

    fn try_flush(&self) -> Result<Tried<()>, NetError> {
        match self {
            Socket::Plain(stream) => stream.try_flush(),
            Socket::Tls(stream) => stream.try_flush(),
        }
    }

    fn until_ready(&self, interest: Interest) -> Wait {
        match self {
            Socket::Plain(stream) => Arc::clone(stream).until_ready(interest),
            Socket::Tls(stream) => Arc::clone(stream).until_ready(interest),
        }
    }
}

/// A connection, and what of it is waited for.
pub(super) struct Io {
    socket: Socket,
    piece: Box<[u8]>,
    reading: Option<Wait>,
    writing: Option<Wait>,
    /// Pieces that may still come without a pause.
    left: u8,
}

impl Io {
    pub(super) fn new(socket: Socket) -> Self {
        Io { socket, piece: vec![0; PIECE_BYTES].into(), reading: None, writing: None, left: PIECES }
    }
}

/// Ready if one more piece may come now.
fn poll_piece(left: &mut u8, cx: &mut Context<'_>) -> Poll<()> {
    let Some(fewer) = left.checked_sub(1) else {
        *left = PIECES;
        // It is woken when the thread has looked at timers and sockets; who wakes itself is before them.
        return pin!(yield_now()).poll(cx);
    };
    *left = fewer;
    Poll::Ready(())
}

/// Tries until it does not block, or the socket is not ready.
fn poll<T>(
    socket: &Socket,
    wait: &mut Option<Wait>,
    left: &mut u8,
    cx: &mut Context<'_>,
    mut operation: impl FnMut() -> Result<Tried<T>, NetError>,
) -> Poll<io::Result<T>> {
    loop {
        if let Some(until) = wait {
            ready!(until.as_mut().poll(cx))?;
            *wait = None;
        }
        ready!(poll_piece(left, cx));
        match operation() {
            Ok(Tried::Done(done)) => return Poll::Ready(Ok(done)),
            Ok(Tried::Wait(interest)) => *wait = Some(socket.until_ready(interest)),
            Err(NetError::Io(error)) => return Poll::Ready(Err(error)),
            Err(error) => return Poll::Ready(Err(io::Error::other(error))),
        }
    }
}

impl Read for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Io { socket, piece, reading, left, .. } = self.get_mut();
        let most = piece.len().min(to.remaining());
        let piece = piece.get_mut(..most).unwrap_or_default();
        let count = ready!(poll(socket, reading, left, cx, || socket.try_read(piece)))?;
        to.put_slice(piece.get(..count).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Io { socket, writing, left, .. } = self.get_mut();
        poll(socket, writing, left, cx, || socket.try_write(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { socket, writing, left, .. } = self.get_mut();
        poll(socket, writing, left, cx, || socket.try_flush())
    }

    /// Who asks is gone with the connection; the other side need not hear of it before.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
