//! Requests for handlers of HTTP, as a command line says them: nothing of theirs is another request, or another's path.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use ureq::http::uri::PathAndQuery;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Headers that frame a message, or are about its connection: those are the tool's.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "expect", "keep-alive", "trailer", "transfer-encoding", "upgrade"];

/// A path of a handler's own, and its query.
#[derive(Debug, Clone)]
pub(crate) struct Target(String);

impl Target {
    /// Reads one. It goes as it is: what is on the way to the handler is to find nothing in it that leads elsewhere.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("a path begins with /");
        }
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !is_plain || PathAndQuery::try_from(text).is_err() {
            return Err("percent-encode what no URL has in its path: %20 is a space, and %23 is #");
        }
        let path = text.split_once('?').map_or(text, |(path, _query)| path);
        if path.split('/').any(is_dots) {
            return Err("a segment of dots alone would be taken for a way up");
        }
        Ok(Self(text.to_owned()))
    }

    /// As it goes into a URL, behind the function's.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A segment that means this place or the one above, encoded or not.
fn is_dots(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// A header.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    name: HeaderName,
    value: HeaderValue,
}

impl Header {
    /// Reads `NAME: VALUE`. A value may have bytes that are no text, and none that would end its line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub(crate) fn parse(text: OsString) -> Result<Self, &'static str> {
        let bytes = text.into_vec();
        let mut parts = bytes.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return Err("write NAME: VALUE");
        };
        let name = HeaderName::from_bytes(name).map_err(|_| "the name of a header has letters, digits and dashes")?;
        let value = HeaderValue::from_bytes(trimmed(value)).map_err(|_| "no header has a line break or the like")?;
        if FRAMING.contains(&name.as_str()) {
            return Err("this one is about the connection, and not for the function");
        }
        if name.as_str() == "host" && value.to_str().is_err() {
            return Err("a host is text");
        }
        Ok(Self { name, value })
    }
}

/// Without spaces and tabs around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// What a handler is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: Method,
    /// The path and the query.
    pub(crate) target: Target,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, if there is one.
    pub(crate) body: Option<Vec<u8>>,
}

/// A method. `CONNECT` asks for no path.
pub(crate) fn method(text: &str) -> Option<Method> {
    Method::from_bytes(text.as_bytes()).ok().filter(|method| *method != Method::CONNECT)
}

/// The headers of a request, in their order. Of those that there is one of, the last counts.
pub(crate) fn headers(given: &[Header]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for Header { name, value } in given {
        if matches!(name.as_str(), "host" | "authorization" | "content-type") {
            headers.insert(name, value.clone());
        } else {
            headers.append(name, value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
        let header = Header::parse(OsString::from_vec(text.to_vec()))?;
        Ok((header.name.to_string(), header.value.as_bytes().to_vec()))
    }

    #[test]
    fn a_path_goes_as_it_is_or_not_at_all() {
        for good in ["/", "/a/b.c", "//a", "/a?b=../c", "/%20%2F", "/...", "/a;b=c/d,e"] {
            assert_eq!(Target::parse(good).map(|target| target.0), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "a",
            "?a",
            "/a b",
            "/a#b",
            "/é",
            "/a\nb",
            "/a\r\nhost: x",
            "/..",
            "/a/../b",
            "/%2e./x",
            "/.%2E",
            "/%2E/",
            "/./a",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_header_is_one_line_whatever_bytes_it_has() {
        assert_eq!(header(b"X-Tide: low: 1 "), Ok(("x-tide".to_owned(), b"low: 1".to_vec())));
        assert_eq!(header(b"x:"), Ok(("x".to_owned(), Vec::new())));
        assert_eq!(header(b"x: \xff\xfe"), Ok(("x".to_owned(), b"\xff\xfe".to_vec())));
        for bad in [&b"x"[..], b"", b": v", b"a b: c", b"x: a\r\ny: b", b"x: a\n", b"x: \0", b"x\r\n: a", b"\xff: a"] {
            assert!(header(bad).is_err(), "{bad:?}");
        }
        for framing in ["Content-Length: 9", "transfer-encoding: chunked", "Connection: close", "host: \u{e9}"] {
            assert!(header(framing.as_bytes()).is_err(), "{framing}");
        }
    }

    #[test]
    fn a_method_is_any_word_but_the_one_that_asks_for_no_path() {
        assert!(["GET", "get", "PURGE", "M-SEARCH"].iter().all(|word| method(word).is_some()));
        assert!(["", "CONNECT", "A B", "GET\r\n", "É"].iter().all(|word| method(word).is_none()));
    }
}
