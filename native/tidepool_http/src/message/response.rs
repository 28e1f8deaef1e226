//! A backend's answer, and how it becomes HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// An answer, complete; [`crate::Responder::stream`] begins one that is not.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status, 200 to 599; anything else reaches the client as 500.
    pub status: u16,
    /// What `body` is.
    pub content_type: ContentType,
    /// Further headers. One that HTTP can't carry (a line break, say) is left out, and so are those
    /// of the connection and of the body's length, which are the edge's.
    pub headers: Vec<(String, String)>,
    /// The body; its length is sent as `Content-Length`.
    pub body: Bytes,
}

impl Response {
    /// An answer without further headers.
    pub fn new(status: u16, content_type: ContentType, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into() }
    }

    /// What a guest replied: text when it is UTF-8, else bytes.
    pub fn reply(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let content_type = ContentType::of_reply(&body);
        Self::new(200, content_type, body)
    }

    /// A JSON document.
    pub fn json(status: u16, document: &serde_json::Value) -> Self {
        Self::new(status, ContentType::Json, document.to_string())
    }

    pub(crate) fn into_http(self) -> hyper::Response<Full<Bytes>> {
        let mut response = hyper::Response::new(Full::new(self.body));
        *response.status_mut() = match self.status {
            200..=599 => StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let headers = response.headers_mut();
        // What guests reply comes from the same origin as the server's own pages: no browser is to take it for a script.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(value) = self.content_type.header() {
            headers.insert(CONTENT_TYPE, value);
        }
        for (name, value) in &self.headers {
            append(headers, name, value);
        }
        response
    }
}

/// Headers that frame the message; a backend that set one would desynchronise the connection.
const FRAMING: [&str; 6] = ["connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"];

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        && !FRAMING.contains(&name.as_str())
    {
        headers.append(name, value);
    }
}

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentType {
    /// `application/octet-stream`.
    Bytes,
    /// `text/plain; charset=utf-8`.
    Text,
    /// `application/json`.
    Json,
    /// Any other, as it goes into the header; left out when a header can't carry it.
    Other(String),
}

impl ContentType {
    /// The type of a guest's reply: text when it is UTF-8, else bytes.
    #[must_use]
    pub fn of_reply(reply: &[u8]) -> Self {
        if std::str::from_utf8(reply).is_ok() { Self::Text } else { Self::Bytes }
    }

    fn header(&self) -> Option<HeaderValue> {
        Some(match self {
            Self::Bytes => HeaderValue::from_static("application/octet-stream"),
            Self::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Other(name) => return HeaderValue::from_str(name).ok(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_break_the_message_are_left_out() {
        let mut response = Response::new(200, ContentType::Text, "x");
        for (name, value) in [("x-kept", "1"), ("x-split", "a\r\nb: c"), ("bad name", "1"), ("Content-Length", "9")] {
            response.headers.push((name.into(), value.into()));
        }
        let http = response.into_http();
        assert_eq!(http.headers().len(), 3);
        assert_eq!(http.headers()["x-kept"], "1");
    }

    #[test]
    fn a_status_outside_http_becomes_500() {
        for status in [0, 101, 199, 600, 65_535] {
            assert_eq!(Response::new(status, ContentType::Text, "").into_http().status(), 500, "{status}");
        }
    }
}
