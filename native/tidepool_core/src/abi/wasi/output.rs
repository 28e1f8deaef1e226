//! Where a guest's stdout and stderr go: to the console line by line, into a buffer that is kept, or both.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::base::console::{MAX_LINE_BYTES, Stream};
use crate::base::limits::Limit;
use crate::store::context::FunctionContext;
use crate::store::host_share::HostShare;
use crate::store::tail::Tail;

/// Most bytes of one write; a guest writes the rest with further ones. What is printed may be a line for every other byte of it,
/// and each of them takes some 0.6 us.
const WRITE_BYTES: usize = 64 << 10;
const PRINT_BYTES: usize = 4 << 10;
/// After this much output a guest yields, even in the middle of a write.
const SLICE_BYTES: usize = 256 << 10;
const SLICE_LINES: usize = 4 << 10;
/// Bytes of stderr that are kept for a program's error message.
const TAIL_BYTES: usize = 4 << 10;

/// One output stream; clones write to the same place.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Sink>>);

struct Sink {
    function: Arc<FunctionContext>,
    tail: Arc<Tail>,
    stream: Stream,
    keep: Keep,
    kept: Vec<u8>,
    /// What of a reply is counted on the host.
    share: HostShare,
    /// Why the reply could not be kept.
    refused: Option<Limit>,
    /// Bytes and lines that were written since the guest last yielded.
    bytes: usize,
    lines: usize,
    /// The start of a line whose end has not been written yet.
    line: Vec<u8>,
    /// The number of the call that began the line.
    call: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// All of it, up to the function's reply limit; nothing is printed.
    Reply,
    /// The end of it, and all is printed.
    Tail,
    /// All is printed.
    Nothing,
}

impl Output {
    /// Keeps what is written as the reply of a call.
    pub(crate) fn reply(function: &Arc<FunctionContext>, tail: &Arc<Tail>) -> Self {
        Self::new(function, tail, Stream::Stdout, Keep::Reply)
    }

    /// Prints what is written, and keeps the end of it.
    pub(crate) fn tail(function: &Arc<FunctionContext>, tail: &Arc<Tail>) -> Self {
        Self::new(function, tail, Stream::Stderr, Keep::Tail)
    }

    /// Prints what is written.
    pub(crate) fn printed(function: &Arc<FunctionContext>, stream: Stream, tail: &Arc<Tail>) -> Self {
        Self::new(function, tail, stream, Keep::Nothing)
    }

    fn new(function: &Arc<FunctionContext>, tail: &Arc<Tail>, stream: Stream, keep: Keep) -> Self {
        let (function, tail, share) = (Arc::clone(function), Arc::clone(tail), HostShare::new(function));
        Output(Arc::new(Mutex::new(Sink {
            function,
            tail,
            stream,
            keep,
            kept: Vec::new(),
            share,
            refused: None,
            bytes: 0,
            lines: 0,
            line: Vec::new(),
            call: 0,
        })))
    }

    /// Prints `bytes`, line by line; what has no end yet when this and its clones are dropped is a line, too.
    pub(crate) fn print(&self, bytes: &[u8]) {
        self.sink().print(bytes);
    }

    /// Takes what was kept; prints a last line that had no end.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut sink = self.sink();
        sink.print_line();
        sink.share.release();
        std::mem::take(&mut sink.kept)
    }

    /// The limit that the guest's reply was over, if it was.
    pub(crate) fn refused(&self) -> Option<Limit> {
        self.sink().refused
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Most bytes of one write.
    fn allowed(&self) -> usize {
        if self.keep == Keep::Reply { WRITE_BYTES } else { PRINT_BYTES }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.bytes += bytes.len();
        if self.keep == Keep::Reply {
            let most = usize::try_from(self.function.limits.reply_bytes).unwrap_or(usize::MAX);
            if bytes.len() > most.saturating_sub(self.kept.len()) {
                self.refused = Some(Limit::Reply);
                return Err("the program wrote more than the reply limit allows");
            }
            if !self.share.grow_to(self.kept.len() + bytes.len(), most) {
                self.refused = Some(Limit::TotalMemory);
                return Err("there is no room for what the program has written");
            }
            self.kept.extend_from_slice(bytes);
            return Ok(());
        }
        if self.keep == Keep::Tail {
            self.kept.extend_from_slice(bytes);
            let excess = self.kept.len().saturating_sub(TAIL_BYTES);
            self.kept.drain(..excess);
        }
        self.print(bytes);
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) {
        // A line that the call before has not ended belongs to that call.
        if self.call != self.tail.call() {
            self.print_line();
            self.call = self.tail.call();
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                self.print_line();
            }
        }
    }

    fn print_line(&mut self) {
        // Taken first: a console that panics must not meet the same line again when this is dropped.
        let mut line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.lines += 1;
            if self.call == self.tail.call() {
                self.tail.push(&line);
            }
            self.function.print(self.stream, &line);
            line.clear();
            self.line = line;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.print_line();
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        // One import may write all of a guest's memory, 4 KiB at a time: long enough to need more than one slice.
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            let mut sink = self.sink();
            if yielded || (sink.bytes < SLICE_BYTES && sink.lines < SLICE_LINES) {
                return Poll::Ready(());
            }
            (sink.bytes, sink.lines, yielded) = (0, 0, true);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut sink = self.sink();
        if bytes.len() > sink.allowed() {
            return Err(StreamError::trap("the guest wrote more than `check-write` allowed"));
        }
        sink.write(&bytes).map_err(|text| StreamError::Trap(wasmtime::Error::msg(text)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.sink().allowed())
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.sink().write(bytes).map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
