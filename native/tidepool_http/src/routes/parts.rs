//! The parts of a form, as far as their heads go: the parser makes copies of each, however long it is.

use hyper::header::HeaderValue;
use memchr::memmem;

/// Longest head of a part: what its field is called, and its file.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// What forms are sent as.
const FORM: &str = "multipart/form-data";

/// Longest text between parts. Clients make 70 bytes at most of it (RFC 2046, 5.1.1).
const BOUNDARY_BYTES: usize = 256;

/// What stands between the parts of a body of this type; `None` where that is no form.
pub(crate) fn boundary(content_type: &[u8]) -> Option<&str> {
    let (kind, parameters) = std::str::from_utf8(content_type).ok()?.split_once(';')?;
    let mut named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_name, value) = named.find(|(name, _value)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    let is_one = !value.is_empty() && value.len() <= BOUNDARY_BYTES && value.bytes().all(fits);
    (is_one && kind.trim().eq_ignore_ascii_case(FORM)).then_some(value)
}

/// The type of a form with this between its parts, and nothing else in it: of what a client says two readers may make two things.
pub(crate) fn form_type(boundary: &str) -> Option<HeaderValue> {
    let is_word = boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let quote = if is_word { "" } else { "\"" };
    HeaderValue::try_from(format!("{FORM}; boundary={quote}{boundary}{quote}")).ok()
}

/// Whether none of the first `parts` of a form has a longer head than it may have. What is no form is for the parser to refuse, which
/// looks no further in it, either.
pub(crate) fn have_short_heads(form: &[u8], boundary: &str, parts: usize) -> bool {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first one may stand at the beginning.
    let first = format!("--{boundary}");
    let Some(mut rest) = behind(form, memmem::find(form, first.as_bytes()), first.len()) else { return true };
    for _part in 0..parts {
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        // Behind the last one are two dashes.
        let Some(head) = rest.get(padding..).and_then(|rest| rest.strip_prefix(b"\r\n")) else { return true };
        let Some(end) = memmem::find(head.get(..HEAD_BYTES).unwrap_or(head), b"\r\n\r\n") else {
            return head.len() <= HEAD_BYTES;
        };
        let content = head.get(end..).and_then(|rest| rest.strip_prefix(b"\r\n\r\n")).unwrap_or_default();
        let Some(next) = behind(content, finder.find(content), delimiter.len()) else { return true };
        rest = next;
    }
    true
}

/// What is behind so many bytes that were found.
fn behind(bytes: &[u8], found: Option<usize>, size: usize) -> Option<&[u8]> {
    bytes.get(found?.saturating_add(size)..)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_of_a_form_is_read_as_clients_write_it_and_of_nothing_else() {
        for (kind, expected) in [
            ("multipart/form-data; boundary=XyZZy", Some("XyZZy")),
            ("Multipart/Form-Data;boundary=----WebKitFormBoundary7MA4", Some("----WebKitFormBoundary7MA4")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b=c\" ", Some("a b=c")),
            ("multipart/form-data; boundary=a; boundary=b", Some("a")),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=a\"b", None),
            ("multipart/form-data; boundary=a\\b", None),
            ("multipart/form-data; boundary=\u{e9}", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=a", None),
            ("", None),
        ] {
            assert_eq!(boundary(kind.as_bytes()), expected, "{kind}");
        }
        assert_eq!(boundary(format!("{FORM}; boundary={}", "a".repeat(257)).as_bytes()), None);
        for text in ["XyZZy", "a b=c", "--a?", "'()+_,-./:=?"] {
            let kind = form_type(text);
            assert_eq!(kind.as_ref().and_then(|kind| boundary(kind.as_bytes())), Some(text));
        }
        assert_eq!(form_type("--a_1.b"), HeaderValue::try_from("multipart/form-data; boundary=--a_1.b").ok());
    }

    /// A form of these heads, each with a content.
    fn form(heads: &[String]) -> Vec<u8> {
        let parts: Vec<String> =
            heads.iter().map(|head| format!("--b\r\n{head}\r\n\r\n\0asm\r\n-- \r\n\r\n--\r\n")).collect();
        format!("{}--b--\r\n", parts.concat()).into_bytes()
    }

    #[test]
    fn a_head_that_is_longer_than_it_may_be_is_found_in_each_part_that_is_read() {
        let (short, long) = ("a: b".to_owned(), format!("a: {}", "b".repeat(HEAD_BYTES)));
        for parts in [1, 2, 66] {
            let mut heads = vec![short.clone(); parts];
            assert!(have_short_heads(&form(&heads), "b", parts));
            heads[parts - 1].clone_from(&long);
            assert!(!have_short_heads(&form(&heads), "b", parts));
            assert!(have_short_heads(&form(&heads), "b", parts - 1), "it is not read");
            assert!(have_short_heads(&form(&heads), "another", parts), "there is none");
        }
        // One that has no end, and one whose end is a little too far.
        for (bytes, is_short) in [(HEAD_BYTES, true), (HEAD_BYTES + 1, false)] {
            assert_eq!(have_short_heads(format!("--b\r\n{}", "a".repeat(bytes)).as_bytes(), "b", 66), is_short);
        }
        let reaching = |bytes: usize| format!("--b \t\r\n{}\r\n\r\nx\r\n--b--", "a".repeat(bytes - 4)).into_bytes();
        assert!(have_short_heads(&reaching(HEAD_BYTES), "b", 66));
        assert!(!have_short_heads(&reaching(HEAD_BYTES + 1), "b", 66));
    }

    #[test]
    fn what_is_no_form_is_for_the_parser() {
        for bytes in ["", "--b", "--b\r\n", "--b--", "--b x", "\r\n--b\r\n\r\n", "x", "--b\r\n\r\n--b\r\n\r\n"] {
            assert!(have_short_heads(bytes.as_bytes(), "b", 66), "{bytes:?}");
        }
        assert!(have_short_heads("--b\r\n\r\n".repeat(100_000).as_bytes(), "b", 66));
        assert!(have_short_heads(&vec![b'\r'; 1 << 20], "b", 66));
    }
}
