//! The cookies of a request.

use hyper::header::{COOKIE, HeaderMap};
use memchr::{memchr, memchr_iter};
use std::iter;

/// Most cookies of a request, in all its lines. Browsers keep 180 of a host.
pub(crate) const MOST_COOKIES: usize = 256;

/// Whether a request has no more cookies than it may have. By HTTP/2 a line of them may be one byte that a client sends.
pub(crate) fn are_few(headers: &HeaderMap) -> bool {
    let of_line = |line: &[u8]| memchr_iter(b';', line).count().saturating_add(1);
    let lines = headers.get_all(COOKIE).iter();
    lines.fold(0, |sum: usize, line| sum.saturating_add(of_line(line.as_bytes()))) <= MOST_COOKIES
}

/// The cookies of a request, each with its name.
pub(crate) fn of(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).iter().flat_map(|line| split(line.as_bytes()))
}

fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(line);
    iter::from_fn(move || {
        let line = left?;
        let end = memchr(b';', line);
        left = end.and_then(|end| line.get(end.saturating_add(1)..));
        line.get(..end.unwrap_or(line.len())).map(<[u8]>::trim_ascii)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::try_from(*line).unwrap())).collect()
    }

    #[test]
    fn the_cookies_of_all_lines_are_told_one_after_the_other() {
        let headers = headers(&["a=1; b=2;c=3 ", "", "d", ";e=5;"]);
        let cookies: Vec<&[u8]> = of(&headers).collect();
        assert_eq!(cookies, [b"a=1".as_slice(), b"b=2", b"c=3", b"", b"d", b"", b"e=5", b""]);
        assert_eq!(of(&HeaderMap::new()).count(), 0);
    }

    #[test]
    fn a_request_has_no_more_cookies_than_it_may_have_in_all_its_lines_together() {
        let line = |cookies: usize| "a;".repeat(cookies - 1);
        assert!(are_few(&HeaderMap::new()));
        assert!(are_few(&headers(&[&line(MOST_COOKIES)])));
        assert!(!are_few(&headers(&[&line(MOST_COOKIES + 1)])));
        assert!(are_few(&headers(&[&line(100), &line(MOST_COOKIES - 100)])));
        assert!(!are_few(&headers(&[&line(100), &line(MOST_COOKIES - 99)])));
        assert!(!are_few(&headers(&["a"; MOST_COOKIES + 1])));
    }
}
