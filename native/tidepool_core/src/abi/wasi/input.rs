//! A program's stdin: the payload of its call.

use bytes::Bytes;
use tokio::io::AsyncRead;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::abi::memory::PIECE_BYTES;

/// The rest of the payload. A program reads one piece at a time, however large its buffer is.
#[derive(Clone)]
pub(super) struct Input(std::sync::Arc<std::sync::Mutex<Bytes>>);

impl Input {
    pub(super) fn new(payload: Bytes) -> Self {
        Input(std::sync::Arc::new(std::sync::Mutex::new(payload)))
    }

    fn take(&self, size: usize) -> Bytes {
        let mut left = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let size = size.min(PIECE_BYTES).min(left.len());
        left.split_to(size)
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty()
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.is_empty() {
            return Err(StreamError::Closed);
        }
        Ok(self.take(size))
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        into.put_slice(&self.take(into.remaining()));
        std::task::Poll::Ready(Ok(()))
    }
}
