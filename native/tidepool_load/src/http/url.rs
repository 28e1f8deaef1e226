//! The URL and the headers as they are given on the command line.

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::InputError;

/// An `http` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `HOST:PORT`, to resolve.
    pub(crate) host_port: String,
    /// The host as the server is told it.
    pub(super) host: HeaderValue,
    /// For HTTP/1.1: path and query.
    pub(super) origin: Uri,
    /// For HTTP/2: all of it.
    pub(super) whole: Uri,
}

impl Url {
    /// Takes a URL apart.
    pub(crate) fn parse(text: &str) -> Result<Url, InputError> {
        let bad = || InputError::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let origin = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let origin = if origin.starts_with('/') { origin.to_owned() } else { format!("/{origin}") };
        Ok(Url {
            host_port: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?,
            whole: format!("http://{authority}{origin}").parse().map_err(|_| bad())?,
            origin: origin.parse().map_err(|_| bad())?,
        })
    }
}

/// A header from `Name: value`.
pub(crate) fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = text.split_once(':').and_then(|(name, value)| {
        let name: HeaderName = name.trim().parse().ok()?;
        Some((name, HeaderValue::from_str(value.trim()).ok()?))
    });
    parsed.ok_or_else(|| format!("`{text}` is no header: write 'Name: value'"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_url_says_where_to_go_and_what_to_ask_for() {
        let url = Url::parse("http://127.0.0.1:4000/call/hello_world?a=b").unwrap();
        assert_eq!(
            (url.host_port.as_str(), url.origin.to_string().as_str()),
            ("127.0.0.1:4000", "/call/hello_world?a=b")
        );
        let url = Url::parse("http://localhost").unwrap();
        assert_eq!((url.host_port.as_str(), url.origin.to_string().as_str()), ("localhost:80", "/"));
        assert_eq!(Url::parse("http://[::1]:9/").unwrap().host_port, "[::1]:9");
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused() {
        for text in ["", "127.0.0.1:80", "/path", "https://127.0.0.1/", "http://", "http://me@127.0.0.1/", "ftp://a/"] {
            assert!(matches!(Url::parse(text), Err(InputError::Url(_))), "{text}");
        }
    }

    #[test]
    fn a_header_needs_a_name_and_a_colon() {
        assert!(parse_header("Accept: */*").is_ok());
        for text in ["Accept", ": x", "a b: c", "a: \u{7}"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }
}
