//! Bodies as streams whose readiness depends on who is faster: what each says is on the tape, and a replay waits for none.

use bytes::Bytes;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi_http::Error;

use crate::recording::exchange::streams::{Broken, Said, Stream};
use crate::recording::tape::Reel;

/// The body of a request.
pub(super) struct Read(pub(super) DynInputStream, pub(super) Reel);

/// The body of a response, or of a request of the guest's.
pub(super) struct Written(pub(super) DynOutputStream, pub(super) Reel);

/// Why a body broke off, as a tape has it. It is one of those that who sent it is told by.
pub(super) fn broken(error: &Error) -> Broken {
    match error {
        Error::HttpRequestBodySize(_) => Broken::TooLarge,
        Error::ConnectionReadTimeout => Broken::Slow,
        _ => Broken::Gone,
    }
}

/// The same, as a guest is told.
pub(super) fn told(broken: Broken) -> Error {
    match broken {
        Broken::TooLarge => Error::HttpRequestBodySize(None),
        Broken::Slow => Error::ConnectionReadTimeout,
        Broken::Gone => Error::ConnectionTerminated,
    }
}

/// What has kept a stream from doing what it was asked, as a tape has it; `None` of what it says each time.
fn fault(error: &StreamError) -> Option<Said> {
    match error {
        StreamError::Closed => Some(Said::Closed),
        StreamError::LastOperationFailed(error) => error.downcast_ref().map(|error| Said::Broken(broken(error))),
        StreamError::Trap(error) => Some(Said::Stopped(error.to_string())),
    }
}

/// The same, as the stream says it.
fn faulty(said: Said) -> StreamError {
    match said {
        Said::Broken(why) => StreamError::LastOperationFailed(told(why).into()),
        Said::Stopped(text) => StreamError::trap(&text),
        Said::Closed | Said::Bytes(_) | Said::Number(_) | Said::Trailers(_) => StreamError::Closed,
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Read {
    async fn ready(&mut self) {
        if !self.1.tape().is_playing() {
            self.0.ready().await;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Read {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let tape = self.1.tape();
        if let Some(said) = tape.said(Stream::Request, size) {
            return match said.map_err(|unlike| StreamError::Trap(unlike.into()))? {
                Said::Bytes(bytes) => Ok(bytes),
                said => Err(faulty(said)),
            };
        }
        let read = self.0.read(size);
        tape.keep_said(Stream::Request, || match &read {
            Ok(bytes) => Said::Bytes(bytes.clone()),
            Err(error) => fault(error).unwrap_or(Said::Broken(Broken::Gone)),
        });
        read
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}

impl Written {
    /// What the stream says of how much may be written; with a number, whether it may.
    fn ask(&mut self, ask: impl FnOnce(&mut DynOutputStream) -> StreamResult<usize>) -> StreamResult<usize> {
        let tape = self.1.tape();
        if tape.is_playing() {
            tape.take_response();
        }
        if let Some(said) = tape.said(Stream::Response, 0) {
            return match said.map_err(|unlike| StreamError::Trap(unlike.into()))? {
                Said::Number(bytes) => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
                said => Err(faulty(said)),
            };
        }
        let answer = ask(&mut self.0);
        let said = match &answer {
            Ok(bytes) => Some(Said::Number(u64::try_from(*bytes).unwrap_or(u64::MAX))),
            Err(error) => fault(error),
        };
        if let Some(said) = said {
            tape.keep_said(Stream::Response, || said);
        }
        answer
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Written {
    async fn ready(&mut self) {
        if !self.1.tape().is_playing() {
            self.0.ready().await;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Written {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let (tape, mut written) = (self.1.tape(), None);
        // 0 is what is done with the bytes each time: their place in the body, and its size.
        self.ask(|stream| {
            let outcome = stream.write(bytes.clone());
            let said = match &outcome {
                Err(StreamError::Closed) => Err(StreamError::Closed),
                Err(StreamError::Trap(error)) => Err(StreamError::trap(&error.to_string())),
                Ok(()) | Err(StreamError::LastOperationFailed(_)) => Ok(0),
            };
            written = Some(outcome);
            said
        })?;
        match written {
            Some(outcome) => outcome,
            None => {
                let outcome = self.0.write(bytes);
                tape.take_response();
                outcome
            }
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.ask(|stream| stream.flush().map(|()| 0)).map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.ask(|stream| stream.check_write())
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}
