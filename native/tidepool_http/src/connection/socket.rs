//! A connection's socket: it notes what passes in the connection's state, and closes without destroying answers.

use crate::connection::discards::DISCARD_BYTES;
use crate::connection::state::{ConnectionState, Order};
use futures_util::FutureExt;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

/// Answers up to this size, heads included, are copied into one piece.
const JOINED_BYTES: usize = 1 << 10;

/// What is read of a connection before others have their turn: in so many bytes there may be seven thousand frames of HTTP/2.
const TURN_BYTES: usize = 64 << 10;

pub(crate) struct Watched {
    stream: TcpStream,
    connection: Arc<ConnectionState>,
    closed_for_writing: bool,
    /// Bytes read since others had their turn.
    taken: usize,
    /// Bytes thrown away since the last pause, and its timer, once there was one.
    discarded: usize,
    pause: Option<Pin<Box<Sleep>>>,
    /// Sees the client leave while nobody reads, once that has been asked for.
    watch: Option<Box<TcpStream>>,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, connection: Arc<ConnectionState>) -> Self {
        Self { stream, connection, closed_for_writing: false, taken: 0, discarded: 0, pause: None, watch: None }
    }

    /// Ready when more may be thrown away.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.discarded < DISCARD_BYTES {
            return Poll::Ready(());
        }
        let discards = &self.connection.discards;
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(discards.next())));
        ready!(pause.as_mut().poll(cx));
        self.discarded = 0;
        self.pause = None;
        Poll::Ready(())
    }

    /// Has the client left, or half of it? What it has sent before stays where it is, unread: a descriptor of its own, of which nothing is
    /// read either, tells of that. Where there is none to be had, it is not known.
    fn is_left(&mut self, cx: &mut Context<'_>) -> bool {
        if self.watch.is_none() {
            let own = self.stream.as_fd().try_clone_to_owned();
            self.watch = own.and_then(|own| TcpStream::from_std(own.into())).ok().map(Box::new);
        }
        let Some(watch) = &self.watch else { return false };
        while let Poll::Ready(Ok(())) = watch.poll_read_ready(cx) {
            // Ready at once if its other end has closed, whatever there is to read.
            if matches!(watch.ready(Interest::PRIORITY).now_or_never(), Some(Ok(ready)) if ready.is_read_closed()) {
                return true;
            }
            // It is told of the next bytes.
            let _ = watch.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        false
    }

    fn note_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(written) => self.connection.bytes_out(*written.as_ref().unwrap_or(&0)),
            Poll::Pending => self.connection.blocked(),
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.taken >= TURN_BYTES {
            self.taken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        self.taken = if read.is_pending() { 0 } else { self.taken.saturating_add(came) };
        if came > 0 {
            self.connection.bytes_in();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Sending one short piece costs the system less than gathering several.
        let mut joined = [0; JOINED_BYTES];
        if let Some(bytes) = join(&mut joined, bufs) {
            return self.poll_write(cx, bytes);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for whenever the connection is driven.
        if self.connection.is_waiting() && self.is_left(cx) {
            self.connection.give(Order::Cut);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes for writing. When a request's body was left unread, what still comes is then thrown away until
    /// the client closes too: closing on unread bytes sends a reset, which overtakes the answer. The timeout task
    /// bounds the time this takes, and pauses bound how much the server reads for it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed_for_writing {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closed_for_writing = true;
        }
        if !self.connection.has_unread() {
            return Poll::Ready(Ok(()));
        }
        self.connection.linger();
        loop {
            ready!(self.poll_pause(cx));
            let mut bytes = [0; 8 << 10];
            let mut sink = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut sink))?;
            if sink.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.discarded += sink.filled().len();
        }
    }
}

/// The pieces behind each other, if they fit.
fn join<'a>(joined: &'a mut [u8], pieces: &[io::IoSlice<'_>]) -> Option<&'a [u8]> {
    let mut length = 0;
    for piece in pieces {
        let end = length + piece.len();
        joined.get_mut(length..end)?.copy_from_slice(piece);
        length = end;
    }
    joined.get(..length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::thread;

    use tokio::net::TcpListener;

    use super::*;
    use crate::budget::shares::Accounts;

    #[tokio::test]
    async fn a_client_that_sends_without_end_leaves_others_their_turn_and_loses_nothing() {
        const SENT: usize = 1 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(&vec![7; SENT]).unwrap();
        });
        let (stream, peer) = listener.accept().await.unwrap();
        let connection = ConnectionState::new(peer, Accounts::default(), Arc::default());
        let mut watched = Watched::new(stream, Arc::new(connection));
        let mut read = 0;
        while read < SENT {
            let turn = poll_fn(|cx| {
                let (mut bytes, mut turn) = ([0; 4 << 10], 0);
                loop {
                    let mut buf = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut watched).poll_read(cx, &mut buf) {
                        Poll::Ready(outcome) => outcome.unwrap(),
                        Poll::Pending if turn == 0 => return Poll::Pending,
                        Poll::Pending => return Poll::Ready(turn),
                    }
                    assert!(!buf.filled().is_empty(), "the client has gone");
                    turn += buf.filled().len();
                    // Behind the last of it is the client's end, whenever that comes.
                    if read + turn == SENT {
                        return Poll::Ready(turn);
                    }
                }
            });
            let turn = turn.await;
            assert!(turn <= TURN_BYTES + (4 << 10), "{turn} bytes in one turn");
            read += turn;
        }
        client.join().unwrap();
    }
}
