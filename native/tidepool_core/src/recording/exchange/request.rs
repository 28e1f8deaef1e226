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
    /// That of a request that nobody has taken yet. Its texts are that one's, which keep nothing else.
    pub(in crate::recording) fn of(exchange: &Exchange) -> Option<Self> {
        exchange.peek(|request, is_secure| {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            Head { method, uri, headers: request.headers().clone(), is_secure }
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
        let authority = self.uri.authority().map_or(0, |it| it.as_str().len());
        let path = self.uri.path_and_query().map_or(0, |it| it.as_str().len());
        size_of::<Self>() + self.method.as_str().len() + authority + path + headers_bytes(&self.headers)
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

/// What the texts of a header take beside their bytes: each has a place of its own.
const TEXTS_BYTES: usize = 32;

/// What headers or trailers take, in bytes.
pub(super) fn headers_bytes(headers: &HeaderMap) -> usize {
    let texts = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + TEXTS_BYTES);
    tidepool_fields::map_bytes(headers) + texts.sum::<usize>()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_head_keeps_nothing_of_what_its_request_was_read_from() {
        let read: Arc<[u8]> = Arc::from([b"/wide?n=17".as_slice(), b"v".repeat(1_000).as_slice()].concat());
        let whole = Bytes::from_owner(Arc::clone(&read));
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *request.uri_mut() = Uri::from_maybe_shared(whole.slice(..10)).unwrap();
        for name in ["x-one", "x-one", "x-two"] {
            let value = HeaderValue::from_maybe_shared(whole.slice(20..30)).unwrap();
            request.headers_mut().append(name, value);
        }
        let (uri, headers) = (request.uri().to_string(), format!("{:?}", request.headers()));
        let respond: Respond = Box::new(|_response| {});
        let exchange = Exchange::new(Ends { request, is_secure: true, respond, is_bounded: true });
        let head = Head::of(&exchange).unwrap();
        assert_eq!((head.uri.to_string(), format!("{:?}", head.headers)), (uri, headers));
        drop((exchange, whole));
        assert_eq!(Arc::strong_count(&read), 1);
    }

    #[test]
    fn a_head_is_as_large_as_its_map_and_not_as_its_texts_alone() {
        let names = (0..100).map(|number| HeaderName::try_from(format!("x{number}")).unwrap());
        let headers: HeaderMap = names.map(|name| (name, HeaderValue::from_static(""))).collect();
        let head =
            |uri: &str, headers| Head { method: Method::GET, uri: uri.parse().unwrap(), headers, is_secure: false };
        let (small, large) = (head("http://a/b", HeaderMap::new()), head("http://a/b", headers));
        assert!(large.size() - small.size() > 10_000, "{}", large.size());
        assert_eq!(head("http://aaa/bbbb", HeaderMap::new()).size(), small.size() + 5);
    }
}
