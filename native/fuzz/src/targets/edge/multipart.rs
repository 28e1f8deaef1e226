//! The form of a deploy.

use super::reply::{check, replies};
use super::server::exchange;

/// What forms are made of.
pub(crate) const WORDS: &[&[u8]] = &[
    b"--x",
    b"\r\n--x\r\n",
    b"\r\n--x--\r\n",
    b"--x--",
    b"\r\n\r\n",
    b"\r\n",
    b"Content-Disposition: form-data; name=\"wasm\"; filename=\"a.wasm\"\r\n",
    b"Content-Disposition: form-data; name=\"name\"\r\n\r\n",
    b"Content-Disposition: form-data; name=\"limits\"\r\n\r\n{\"time\": 5}",
    b"Content-Disposition: form-data; name=operation",
    b"Content-Disposition: form-data; name*=utf-8''engine",
    b"; filename*=utf-8''%ff",
    b"; filename=\"..\\\\..\\\"/x\"",
    b"Content-Type: text/plain; charset=utf-16\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"name=\"snapshot\"",
    b"name=\"instances\"",
    b"name=\"engine\"",
    b"\"",
    b"\\",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":1e999}",
    b"{\"\\ud800\":0}",
    b"\xff",
    b"\0asm\x01\0\0\0",
];

/// What a head may say of its body; the input's first byte chooses.
const TYPES: [&str; 8] = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=\"x\"",
    "multipart/form-data; charset=utf-8; boundary=x",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=--",
    "Multipart/Form-Data; Boundary=x",
    "multipart/form-data; boundary=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Deploys with `data` as form, behind a first byte that chooses its type: one whole answer, and none that says that the
/// edge failed.
///
/// # Panics
/// When that does not hold.
pub fn multipart(data: &[u8]) {
    let Some((choice, form)) = data.split_first() else { return };
    // Most of them can be read.
    let content_type = TYPES[usize::from(choice.saturating_sub(200)) % TYPES.len()];
    let head = format!(
        "POST /deploy?wait=all HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        form.len()
    );
    let got = exchange(&[&[head.as_bytes(), form].concat()]);
    if got.cut {
        return;
    }
    let replies = replies(&got.bytes).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(replies.len(), 1, "one request, one answer: {replies:?}");
    check(&replies);
}
