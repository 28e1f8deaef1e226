//! What streams of requests and responses tell a guest, which depends on who is faster.

use bytes::Bytes;
use http::HeaderMap;

use super::request::{headers_bytes, read_headers, write_headers};
use crate::recording::bytes::{Reader, Writer};
use crate::recording::damaged::Damaged;

/// Of what the guest has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The body of its request, for more.
    Request,
    /// What is behind that body.
    Trailers,
    /// The body of its response, how much it may write, or to write that.
    Response,
    /// A request of its own, for the response.
    Awaited,
}

/// What it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Bytes; none where there are none yet.
    Bytes(Bytes),
    /// A number: of bytes that it may write, or 1 for what is done, and 0 for what is not yet.
    Number(u64),
    /// That was all.
    Closed,
    /// It broke off.
    Broken(Broken),
    /// The guest was stopped, with this text.
    Stopped(String),
    /// Trailers.
    Trailers(HeaderMap),
}

/// Why a body breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is larger than it may be.
    TooLarge,
    /// It came too slowly.
    Slow,
    /// Who sent it is gone.
    Gone,
}

impl Stream {
    /// What it is, as reports say it.
    pub(in crate::recording) const fn describe(self) -> &'static str {
        match self {
            Stream::Request => "the request's body",
            Stream::Trailers => "the request's trailers",
            Stream::Response => "room in the response's body",
            Stream::Awaited => "the response to a request of its own",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Stream::Request => 0,
            Stream::Trailers => 1,
            Stream::Response => 2,
            Stream::Awaited => 3,
        }
    }

    pub(in crate::recording) fn write(self, said: &Said, writer: &mut Writer) {
        writer.byte(self.number());
        match said {
            Said::Bytes(bytes) => {
                writer.byte(0);
                writer.bytes(bytes);
            }
            Said::Number(number) => {
                writer.byte(1);
                writer.number(*number);
            }
            Said::Closed => writer.byte(2),
            Said::Broken(Broken::TooLarge) => writer.byte(3),
            Said::Broken(Broken::Slow) => writer.byte(4),
            Said::Broken(Broken::Gone) => writer.byte(5),
            Said::Stopped(text) => {
                writer.byte(6);
                writer.text(text);
            }
            Said::Trailers(trailers) => {
                writer.byte(7);
                write_headers(writer, trailers);
            }
        }
    }

    pub(in crate::recording) fn read(reader: &mut Reader) -> Result<(Self, Said), Damaged> {
        let number = reader.byte()?;
        let all = [Stream::Request, Stream::Trailers, Stream::Response, Stream::Awaited];
        let stream = all.into_iter().find(|stream| stream.number() == number).ok_or(Damaged::Form)?;
        let said = match reader.byte()? {
            0 => Said::Bytes(reader.bytes()?),
            1 => Said::Number(reader.number()?),
            2 => Said::Closed,
            3 => Said::Broken(Broken::TooLarge),
            4 => Said::Broken(Broken::Slow),
            5 => Said::Broken(Broken::Gone),
            6 => Said::Stopped(reader.text()?),
            7 => Said::Trailers(read_headers(reader)?),
            _ => return Err(Damaged::Form),
        };
        Ok((stream, said))
    }
}

impl Said {
    /// Does nothing more come behind it?
    pub(in crate::recording) const fn is_end(&self) -> bool {
        matches!(self, Said::Closed | Said::Broken(_) | Said::Trailers(_))
    }

    /// What it takes in memory, roughly, in bytes, beside itself.
    pub(in crate::recording) fn size(&self) -> usize {
        match self {
            Said::Bytes(bytes) => bytes.len(),
            Said::Stopped(text) => text.len(),
            Said::Trailers(trailers) => headers_bytes(trailers),
            Said::Number(_) | Said::Closed | Said::Broken(_) => 0,
        }
    }
}
