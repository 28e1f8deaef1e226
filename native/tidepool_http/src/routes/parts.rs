//! The parts of a form: where each begins and ends. What their heads say is for the parser, which makes copies of all that it gets.

use bytes::Bytes;
use hyper::header::HeaderValue;
use memchr::memmem;

/// Longest head of a part: what its field is called, and its file.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// All heads of a form together.
pub(crate) const HEADS_BYTES: usize = 64 << 10;

/// What a head ends with.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

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

/// A part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What stands before the content, as the client has sent it.
    pub(crate) head: Bytes,
    pub(crate) content: Bytes,
}

/// Why a form has no parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A head is longer than [`HEAD_BYTES`], or all are longer than [`HEADS_BYTES`].
    LongHead,
    /// It is none, or does not come to its end.
    Malformed,
}

/// The first `most` parts of a form (RFC 2046, 5.1.1), which nothing copies. It takes as long as the form is, some 2 ns a byte at worst.
///
/// # Errors
///
/// See [`Fault`]. What is behind these parts may be anything.
pub(crate) fn split(form: &Bytes, boundary: &str, most: usize) -> Result<Vec<Part>, Fault> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first one may stand at the beginning.
    let first = format!("--{boundary}");
    let mut rest = behind(form, memmem::find(form, first.as_bytes()), first.len()).ok_or(Fault::Malformed)?;
    let (mut parts, mut heads) = (Vec::new(), 0_usize);
    // Behind the last one are two dashes.
    while parts.len() < most && !rest.starts_with(b"--") {
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let rest_of_line = rest.get(padding..).and_then(|rest| rest.strip_prefix(b"\r\n"));
        let all = rest_of_line.ok_or(Fault::Malformed)?;
        let end = memmem::find(all.get(..HEAD_BYTES).unwrap_or(all), END_OF_HEAD);
        let end = end.ok_or(if all.len() > HEAD_BYTES { Fault::LongHead } else { Fault::Malformed })?;
        heads = end.saturating_add(heads);
        if heads > HEADS_BYTES {
            return Err(Fault::LongHead);
        }
        let content = behind(all, Some(end), END_OF_HEAD.len()).unwrap_or_default();
        let size = finder.find(content).ok_or(Fault::Malformed)?;
        let slice = |bytes: &[u8], size| form.slice_ref(bytes.get(..size).unwrap_or_default());
        parts.push(Part { head: slice(all, end), content: slice(content, size) });
        rest = behind(content, Some(size), delimiter.len()).unwrap_or_default();
    }
    Ok(parts)
}

/// The form of these parts without their contents: what the parser is to read.
pub(crate) fn without_contents(parts: &[Part], boundary: &str) -> Vec<u8> {
    let mut form = Vec::new();
    for part in parts {
        for bytes in [b"--", boundary.as_bytes(), b"\r\n", &part.head, END_OF_HEAD, b"\r\n"] {
            form.extend_from_slice(bytes);
        }
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    form
}

/// What is behind so many bytes that were found.
fn behind(bytes: &[u8], found: Option<usize>, size: usize) -> Option<&[u8]> {
    bytes.get(found?.saturating_add(size)..)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
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

    /// What each part of these has: bytes that look like the end of a part.
    const CONTENT: &str = "\0asm\r\n-- \r\n\r\n--\r\n";

    /// A form of these heads, each with a content.
    fn form(heads: &[String]) -> Bytes {
        let parts: Vec<String> = heads.iter().map(|head| format!("--b\r\n{head}\r\n\r\n{CONTENT}\r\n")).collect();
        format!("{}--b--\r\n", parts.concat()).into()
    }

    #[test]
    fn the_parts_of_a_form_are_what_stands_between_its_delimiters_and_are_no_copies() {
        let heads: Vec<String> = (0..3).map(|number| format!("a: {number}")).collect();
        let form = form(&heads);
        for most in [1, 2, 3, 66] {
            let parts = split(&form, "b", most).unwrap();
            assert_eq!(parts.len(), most.min(3));
            for (part, head) in parts.iter().zip(&heads) {
                assert_eq!((&part.head, &part.content), (&Bytes::from(head.clone()), &Bytes::from(CONTENT)));
                assert!(form.as_ptr_range().contains(&part.content.as_ptr()));
            }
        }
        // Before the first one may be anything, and behind a delimiter spaces.
        let padded = Bytes::from("a preamble\r\n--b \t\r\nh\r\n\r\n\r\n--b--an epilogue");
        assert_eq!(split(&padded, "b", 66).unwrap(), [Part { head: "h".into(), content: "".into() }]);
        assert_eq!(split(&"--b--".into(), "b", 66), Ok(Vec::new()));
    }

    #[test]
    fn a_form_without_contents_has_the_same_heads() {
        // A head may look like the beginning of a part.
        let heads = ["a: 1".to_owned(), "b: 2\r\n--b".to_owned(), "--b--".to_owned()];
        let parts = split(&form(&heads), "b", 66).unwrap();
        let again = split(&without_contents(&parts, "b").into(), "b", 66).unwrap();
        assert_eq!(again.iter().map(|part| &part.head).collect::<Vec<_>>(), heads.iter().collect::<Vec<_>>());
        assert!(again.iter().all(|part| part.content.is_empty()));
    }

    #[test]
    fn a_head_that_is_longer_than_it_may_be_is_found_in_each_part_that_is_read() {
        let (short, long) = ("a: b".to_owned(), format!("a: {}", "b".repeat(HEAD_BYTES)));
        for parts in [1, 2, 66] {
            let mut heads = vec![short.clone(); parts];
            assert_eq!(split(&form(&heads), "b", parts).unwrap().len(), parts);
            heads[parts - 1].clone_from(&long);
            assert_eq!(split(&form(&heads), "b", parts), Err(Fault::LongHead));
            assert_eq!(split(&form(&heads), "b", parts - 1).unwrap().len(), parts - 1, "it is not read");
        }
        // All of them together.
        let heads = |last: usize| {
            let mut heads = vec!["a".repeat(HEAD_BYTES / 2); 7];
            heads.push("a".repeat(last));
            split(&form(&heads), "b", 66).map(|parts| parts.len())
        };
        assert_eq!(heads(HEADS_BYTES - 7 * HEAD_BYTES / 2), Ok(8));
        assert_eq!(heads(HEADS_BYTES - 7 * HEAD_BYTES / 2 + 1), Err(Fault::LongHead));
        // One that has no end, and one whose end is a little too far.
        for (bytes, fault) in [(HEAD_BYTES, Fault::Malformed), (HEAD_BYTES + 1, Fault::LongHead)] {
            assert_eq!(split(&format!("--b\r\n{}", "a".repeat(bytes)).into(), "b", 66), Err(fault));
        }
        let reaching = |bytes: usize| format!("--b \t\r\n{}\r\n\r\nx\r\n--b--", "a".repeat(bytes - 4)).into();
        assert_eq!(split(&reaching(HEAD_BYTES), "b", 66).map(|parts| parts.len()), Ok(1));
        assert_eq!(split(&reaching(HEAD_BYTES + 1), "b", 66), Err(Fault::LongHead));
    }

    #[test]
    fn what_does_not_come_to_its_end_is_no_form() {
        for text in ["", "--b", "--b\r\n", "--b x", "\r\n--b\r\n\r\n", "x", "--b\r\n\r\n--b\r\n\r\n"] {
            assert_eq!(split(&text.into(), "b", 66), Err(Fault::Malformed), "{text:?}");
        }
        assert_eq!(split(&form(&["a: b".to_owned()]), "another", 66), Err(Fault::Malformed));
        assert_eq!(split(&vec![b'\r'; 1 << 20].into(), "b", 66), Err(Fault::Malformed));
    }
}
