//! Requests of HTTP/1.1 as bytes: heads, bodies, several in a row.

use super::reply::{Reply, check, replies};
use super::server::exchange;
use crate::behaviour::hash;

/// What requests are made of.
pub(crate) const WORDS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS * ",
    b"CONNECT ",
    b"/call/",
    b"/call/f?payload=",
    b"/deploy",
    b"/functions/",
    b"/wasm",
    b"/cluster/nodes/",
    b"/health",
    b"/metrics",
    b"http://localhost/",
    b"http://evil.example/",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\0",
    b"\t",
    b"%",
    b"%00",
    b"%2f",
    b"%FF",
    b"&",
    b"+",
    b"?",
    b"#",
    b"//",
    b"Host: localhost\r\n",
    b"Host: evil.example\r\n",
    b"Host: [::1]:4000\r\n",
    b"Content-Length: ",
    b"Content-Length: 0\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5;x=y\r\nhello\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Upgrade: websocket\r\n",
    b"Trailer: x\r\n",
    b"Authorization: Bearer x\r\n",
    b"Origin: http://localhost\r\n",
    b"Sec-Fetch-Site: cross-site\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Content-Type: multipart/form-data; boundary=x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// One input of so many is sent a second time, in pieces.
const IN_PIECES: u64 = 8;

/// Behind each input, so that the edge closes once it has answered, unless it waits for the rest of a body.
const LAST: &[u8] = b"\r\nGET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Sends `data` to an edge. Whatever it is, there are whole answers or none, no answer says that the edge failed, and how the
/// bytes are cut into packets changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn http1(data: &[u8]) {
    let Some(whole) = answers(&[data, LAST].concat(), &[]) else { return };
    check(&whole);
    let key = hash(data);
    if !key.is_multiple_of(IN_PIECES) || data.len() < 3 {
        return;
    }
    let first = usize::try_from(key >> 8).unwrap_or_default() % data.len();
    let second = first + usize::try_from(key >> 32).unwrap_or_default() % (data.len() - first);
    if let Some(cut) = answers(&[data, LAST].concat(), &[first, second]) {
        assert!(agree(&cut, &whole), "{cut:?} instead of {whole:?}, in pieces that end at {first} and {second}");
    }
}

/// The same answers; but behind a refusal, a body that is there as a whole is thrown away, and one of which some is to
/// come ends the connection.
fn agree(some: &[Reply], others: &[Reply]) -> bool {
    let said = |reply: &Reply| (reply.status, reply.reason.clone(), reply.body.clone());
    let ended = |replies: &[Reply]| replies.last().is_some_and(|last| last.closes && last.status >= 400);
    let (shorter, longer) = if some.len() < others.len() { (some, others) } else { (others, some) };
    let same = shorter.iter().map(said).eq(longer.iter().take(shorter.len()).map(said));
    same && (shorter.len() == longer.len() || ended(shorter))
}

/// What comes back, sent in pieces that end at `ends`; `None` when some of it may be lost.
fn answers(mut data: &[u8], ends: &[usize]) -> Option<Vec<Reply>> {
    let http2 = is_http2(data);
    let mut pieces = Vec::new();
    let mut sent = 0;
    for end in ends {
        let (piece, rest) = data.split_at(end - sent);
        pieces.push(piece);
        (data, sent) = (rest, *end);
    }
    pieces.push(data);
    let got = exchange(&pieces);
    if http2 || got.cut {
        return None;
    }
    Some(replies(&got.bytes).unwrap_or_else(|wrong| panic!("{wrong}")))
}

/// Those are answered in frames.
fn is_http2(data: &[u8]) -> bool {
    data.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
}
