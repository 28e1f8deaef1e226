//! Percent-decoding of path segments and query strings. Strict: a `%` without two hex digits is refused.

use crate::message::refusal::{Refusal, shown};
use bytes::Bytes;
use std::borrow::Cow;
use tidepool_errors::Reason;

/// Most parameters that are read of a query: a list of functions may have 16 labels, and all else takes fewer.
const MOST_PARAMETERS: usize = 64;

/// Whether `+` is a space, as it is in query strings, or itself, as in paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Space,
    Literal,
}

fn decode(text: &str, plus: Plus) -> Option<Cow<'_, [u8]>> {
    let special = |byte: u8| byte == b'%' || (byte == b'+' && plus == Plus::Space);
    if !text.bytes().any(special) {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus == Plus::Space => b' ',
            _ => byte,
        });
    }
    Some(Cow::Owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn utf8(bytes: Cow<'_, [u8]>) -> Option<String> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok(),
    }
}

/// Decodes one segment of a path.
///
/// # Errors
///
/// [`Reason::InvalidPath`] when it is not percent-encoded UTF-8.
pub(crate) fn segment(raw: &str) -> Result<String, Refusal> {
    decode(raw, Plus::Literal).and_then(utf8).ok_or_else(|| {
        Refusal::new(Reason::InvalidPath, "a name in the path is not percent-encoded UTF-8: write % as %25")
            .with("segment", shown(raw))
    })
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn invalid(parameter: &str) -> Refusal {
    Refusal::new(Reason::InvalidQuery, "a parameter of the query string is not percent-encoded: write % as %25")
        .with("parameter", shown(parameter))
}

/// All parameters, in their order.
///
/// # Errors
///
/// [`Reason::InvalidQuery`] when one is not percent-encoded UTF-8, or there are too many.
pub(crate) fn parameters(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    // Counted before anything is made of them: two bytes of a query become two texts, which are forty times as much.
    if pairs(query).nth(MOST_PARAMETERS).is_some() {
        let message = format!("a query may have {MOST_PARAMETERS} parameters: send fewer");
        return Err(Refusal::new(Reason::InvalidQuery, message));
    }
    let text = |raw| decode(raw, Plus::Space).and_then(utf8);
    pairs(query).map(|(key, value)| text(key).zip(text(value)).ok_or_else(|| invalid(key))).collect()
}

/// The value of one parameter, any bytes; the others are not looked at.
///
/// # Errors
///
/// [`Reason::InvalidQuery`] when it is not percent-encoded, or there twice.
pub(crate) fn parameter(query: &str, name: &str) -> Result<Option<Bytes>, Refusal> {
    let named = |raw| decode(raw, Plus::Space).is_some_and(|key| *key == *name.as_bytes());
    let mut found = pairs(query).filter(|(key, _)| named(*key));
    let Some((_, value)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Refusal::new(Reason::InvalidQuery, format!("give `{name}` once")).with("parameter", name));
    }
    match decode(value, Plus::Space) {
        Some(value) => Ok(Some(Bytes::from(value.into_owned()))),
        None => Err(invalid(name)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_segment_decodes_escapes_and_keeps_plus() {
        assert_eq!(segment("a%2Fb+c%C3%A9").unwrap(), "a/b+cé");
    }

    #[test]
    fn a_segment_that_is_not_utf8_or_half_an_escape_is_refused() {
        for raw in ["%ff", "%", "%4", "%zz", "%+1", "a%e9"] {
            assert_eq!(segment(raw).unwrap_err().reason, Reason::InvalidPath, "{raw}");
        }
    }

    #[test]
    fn a_parameter_decodes_to_any_bytes() {
        assert_eq!(parameter("x=%zz&payload=%00%FFa+b%2B", "payload").unwrap().unwrap(), b"\x00\xffa b+".as_slice());
        assert_eq!(parameter("p%61yload=1", "payload").unwrap().unwrap(), b"1".as_slice());
        assert_eq!(parameter("payload", "payload").unwrap().unwrap(), b"".as_slice());
        assert_eq!(parameter("payloads=1", "payload").unwrap(), None);
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        assert_eq!(parameter("payload=1&payload=2", "payload").unwrap_err().reason, Reason::InvalidQuery);
    }

    #[test]
    fn parameters_keep_their_order() {
        let expected = [("wait", "all"), ("b", ""), ("wait", "x y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(parameters("wait=all&&b&wait=x+y").unwrap(), expected);
    }

    #[test]
    fn so_many_parameters_are_read_and_of_more_not_one() {
        let many = |count: usize| parameters(&"a&".repeat(count));
        assert_eq!(many(MOST_PARAMETERS).unwrap().len(), MOST_PARAMETERS);
        // What can't be read is behind them: nothing is, of any.
        let refused = parameters(&format!("{}%zz", "a&".repeat(MOST_PARAMETERS))).unwrap_err();
        assert_eq!((refused.reason, refused.message.contains("64")), (Reason::InvalidQuery, true));
        assert_eq!(many(32_000).unwrap_err().reason, Reason::InvalidQuery);
        // Where there is nothing between two `&` there is no parameter.
        assert_eq!(parameters(&"&".repeat(60_000)).unwrap(), []);
    }
}
