//! A connection as two streams of `wasi:io`.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::Interest;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::connection::Connection;
use super::ready::ready;
use crate::abi::memory::PIECE_BYTES;
use crate::net::error::NetError;
use crate::net::ready::Ready;
use crate::net::stream::Tried;

/// What comes.
pub(super) struct Input(pub(super) Arc<Connection>);

/// What goes.
pub(super) struct Output(pub(super) Arc<Connection>);

fn failed(error: NetError) -> StreamError {
    match error {
        NetError::Io(error) => StreamError::LastOperationFailed(error.into()),
        error => StreamError::LastOperationFailed(error.into()),
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        ready(&self.0.stream, Interest::READABLE).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.0.hears_nothing() {
            return Err(StreamError::Closed);
        }
        let mut bytes = vec![0; size.min(PIECE_BYTES)];
        if bytes.is_empty() {
            return Ok(Bytes::new());
        }
        match self.0.stream.read_now(&mut bytes).map_err(failed)? {
            Tried::Done(0) => Err(StreamError::Closed),
            Tried::Done(count) => {
                bytes.truncate(count);
                Ok(bytes.into())
            }
            Tried::Wait(_) => Ok(Bytes::new()),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.0.written().await;
        ready(&self.0.stream, Interest::WRITABLE).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PIECE_BYTES || self.0.is_busy().map_err(failed)? {
            return Err(StreamError::trap("the guest wrote more than `check-write` allowed"));
        }
        self.0.write(bytes).map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.0.is_busy().map_err(failed)? {
            return Ok(0);
        }
        Ok(if self.0.stream.try_ready(Interest::WRITABLE) == Tried::Done(()) { PIECE_BYTES } else { 0 })
    }

    /// A stream that is dropped has said all that was written to it.
    async fn cancel(&mut self) {
        self.0.written().await;
    }
}
