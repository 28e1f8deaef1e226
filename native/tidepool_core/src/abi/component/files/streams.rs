//! Files as streams of `wasi:io`.
//!
//! A file is always ready. For one of the host's the functions that wait (`blocking-read`, `blocking-write-and-flush` and those
//! that are made of them) ask the host; those that don't ([`super::waiting`]) are told here that it is one, and wait, too. Nothing
//! else may be asked meanwhile: what asks is the one thing that its guest waits for.

use bytes::Bytes;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::asker::Asker;
use crate::abi::files::open::Content;
use crate::abi::files::place;
use crate::abi::memory::PIECE_BYTES;
use crate::base::request::FileOperation;
use crate::process::files::error::FileError;

/// A file that is read from some place on.
pub(super) struct Input {
    pub(super) content: Content,
    pub(super) offset: u64,
    pub(super) asker: Asker,
}

/// A file that is written.
pub(super) struct Output {
    pub(super) content: Content,
    /// From where on; `None` is the file's end, wherever that is.
    pub(super) offset: Option<u64>,
    /// What was written to a file of the host's, and is to be asked of that next.
    pub(super) kept: Bytes,
    pub(super) asker: Asker,
}

/// What a stream fails with: `filesystem-error-code` finds it in there.
pub(super) fn failed(error: FileError) -> StreamError {
    StreamError::LastOperationFailed(Broken(error).into())
}

/// Is this what a stream of a file of the host's says, where it would have to wait?
pub(super) fn is_of_host(error: &StreamError) -> bool {
    let StreamError::LastOperationFailed(error) = error else { return false };
    error.downcast_ref::<Broken>().is_some_and(|broken| broken.0 == FileError::Again)
}

/// An error of a file.
#[derive(Debug)]
pub(super) struct Broken(pub(super) FileError);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", super::codes::code(self.0))
    }
}

impl std::error::Error for Broken {}

impl Input {
    fn read_memory(&mut self, size: usize) -> StreamResult<Bytes> {
        let Content::Memory(file) = &self.content else { return Err(failed(FileError::Again)) };
        let left = usize::try_from(file.size().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(PIECE_BYTES).min(left)];
        let count = file.read(self.offset, &mut bytes);
        bytes.truncate(count);
        self.took(size, bytes.into())
    }

    /// At the end of a file its stream is closed.
    fn took(&mut self, size: usize, bytes: Bytes) -> StreamResult<Bytes> {
        if bytes.is_empty() && size > 0 {
            return Err(StreamError::Closed);
        }
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.read_memory(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Content::Host(folder, path) = &self.content else { return self.read_memory(size) };
        let length = size.min(PIECE_BYTES);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let call = self.asker.call().ok_or_else(|| failed(FileError::Io))?;
        let bytes = place::read_by(&call, folder, path, self.offset, length).await.map_err(failed)?;
        self.took(size, bytes)
    }
}

impl Output {
    fn wrote(&mut self, count: usize) {
        if let Some(offset) = &mut self.offset {
            *offset = offset.saturating_add(count as u64);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PIECE_BYTES {
            return Err(StreamError::trap("the guest wrote more than `check-write` allowed"));
        }
        let Content::Memory(file) = &self.content else {
            self.kept = bytes;
            return Err(failed(FileError::Again));
        };
        file.write(self.offset, &bytes).map_err(failed)?;
        self.wrote(bytes.len());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE_BYTES)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let Content::Host(folder, path) = &self.content else { return self.write(bytes) };
        let kept = std::mem::take(&mut self.kept);
        let bytes = if bytes.is_empty() { kept } else { bytes };
        if bytes.is_empty() {
            return Ok(());
        }
        let operation = FileOperation::Write { offset: self.offset, bytes: bytes.to_vec() };
        let call = self.asker.call().ok_or_else(|| failed(FileError::Io))?;
        place::ask_by(&call, folder, path, operation).await.map_err(failed)?;
        self.wrote(bytes.len());
        Ok(())
    }
}
