//! A program's own standard input and output, as WASI's streams.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::abi::memory::PIECE_BYTES;
use crate::base::console::Stream;
use crate::process::stdio::Stdio;

/// Most bytes of one write; a guest writes the rest with further ones.
const WRITE_BYTES: usize = 64 << 10;

/// Standard input.
#[derive(Clone)]
pub(super) struct Stdin(pub(super) Arc<Stdio>);

/// Standard output, or standard error.
#[derive(Clone)]
pub(super) struct Written(pub(super) Arc<Stdio>, pub(super) Stream);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl IsTerminal for Written {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }
}

impl StdoutStream for Written {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.poll_input(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Written {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.poll_room(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.read(size.min(PIECE_BYTES)).ok_or(StreamError::Closed)
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Written {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_BYTES || self.0.is_flooded() {
            return Err(StreamError::trap("the guest wrote more than `check-write` allowed"));
        }
        self.0.write(self.1, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.0.has_room() { WRITE_BYTES } else { 0 })
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0.read(into.remaining()) {
            Some(bytes) if bytes.is_empty() && into.remaining() > 0 => self.0.poll_input(cx).map(|()| {
                if let Some(bytes) = self.0.read(into.remaining()) {
                    into.put_slice(&bytes);
                }
                Ok(())
            }),
            Some(bytes) => {
                into.put_slice(&bytes);
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Written {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_room(cx).map(|()| {
            self.0.write(self.1, bytes);
            Ok(bytes.len())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
