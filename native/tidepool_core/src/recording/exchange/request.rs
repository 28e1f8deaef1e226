//! The head of a request, as a recording has it, and a request with this head for a replay.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Empty};

use crate::base::request::exchange::{Ends, Exchange, Respond};
use crate::recording::bytes::{Reader, Writer};
use crate::recording::damaged::Damaged;

/// What a request has before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    is_secure: bool,
}

impl Head {
    /// That of a request that nobody has taken yet.
    pub(in crate::recording) fn of(exchange: &Exchange) -> Option<Self> {
        exchange.peek(|request, is_secure| Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            is_secure,
        })
    }

    /// A request with this head. It has no body: its guest is told of one by the recording.
    pub(crate) fn exchange(&self, respond: Respond) -> Exchange {
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        (*request.method_mut(), *request.uri_mut()) = (self.method.clone(), self.uri.clone());
        *request.headers_mut() = self.headers.clone();
        Exchange::new(Ends { request, is_secure: self.is_secure, respond, is_bounded: true })
    }

    /// What it takes, in bytes.
    pub(in crate::recording) fn size(&self) -> usize {
        let uri = self.uri.path_and_query().map_or(0, |it| it.as_str().len());
        size_of::<Self>() + uri + headers_bytes(&self.headers)
    }

    pub(in crate::recording) fn write(&self, writer: &mut Writer) {
        writer.text(self.method.as_str());
        writer.text(&self.uri.to_string());
        writer.byte(u8::from(self.is_secure));
        write_headers(writer, &self.headers);
    }

    pub(in crate::recording) fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        let method = Method::from_bytes(&reader.bytes()?).map_err(|_| Damaged::Form)?;
        let uri = Uri::from_maybe_shared(reader.bytes()?).map_err(|_| Damaged::Form)?;
        Ok(Head { method, uri, is_secure: reader.byte()? != 0, headers: read_headers(reader)? })
    }
}

/// What headers or trailers take, in bytes.
pub(super) fn headers_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Writes headers, or trailers.
pub(super) fn write_headers(writer: &mut Writer, headers: &HeaderMap) {
    writer.size(headers.len());
    for (name, value) in headers {
        writer.text(name.as_str());
        writer.bytes(value.as_bytes());
    }
}

/// Reads them.
pub(super) fn read_headers(reader: &mut Reader) -> Result<HeaderMap, Damaged> {
    let all = reader.several(|reader| {
        let name = HeaderName::from_bytes(&reader.bytes()?).map_err(|_| Damaged::Form)?;
        Ok((name, HeaderValue::from_maybe_shared(reader.bytes()?).map_err(|_| Damaged::Form)?))
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.try_append(name, value).map_err(|_| Damaged::Form)?;
    }
    Ok(headers)
}
