//! Answers of HTTP/1, read as strictly as they should be written.

use crate::behaviour::{kind, seen};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Of a refusal.
    pub(super) reason: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) closes: bool,
}

/// The answers that `bytes` are.
///
/// # Errors
/// What is wrong with them.
pub(super) fn replies(mut bytes: &[u8]) -> Result<Vec<Reply>, String> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let (reply, rest) = reply(bytes).map_err(|wrong| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
            format!("{wrong}, in answer {}: {shown:?}", replies.len())
        })?;
        bytes = rest;
        replies.extend(reply);
    }
    Ok(replies)
}

/// Checks what holds for any answer, and notes what there was.
///
/// # Panics
/// When one is not as it should be.
pub(super) fn check(replies: &[Reply]) {
    for (index, reply) in replies.iter().enumerate() {
        let Reply { status, reason, body, closes } = reply;
        assert!(*status < 500, "the edge failed: {reply:?}");
        if *status >= 400 && !body.is_empty() {
            assert!(reason.is_some(), "a refusal without a reason: {reply:?}");
        }
        assert!(!closes || index + 1 == replies.len(), "answers come after the last one");
        seen(&(index.min(3), status, reason, closes));
        // Which refusal, and which route.
        let said = String::from_utf8_lossy(body);
        let document = serde_json::from_str::<serde_json::Value>(&said).ok();
        let message = document.as_ref().and_then(|document| document.pointer("/error/message")?.as_str());
        seen(&message.map_or_else(|| said.split(' ').next().map(kind), |message| Some(kind(message))));
    }
}

/// One answer, and what is behind it; `None` for one that others follow for the same request.
fn reply(bytes: &[u8]) -> Result<(Option<Reply>, &[u8]), String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("a head without an end")?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text")?;
    let mut rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let version = first.get(..9).filter(|version| ["HTTP/1.0 ", "HTTP/1.1 "].contains(version));
    version.ok_or("a wrong version")?;
    let status: u16 = first.get(9..12).and_then(|digits| digits.parse().ok()).ok_or("a wrong status")?;
    if status < 200 {
        return Ok((None, rest));
    }
    let (mut len, mut closes, mut json) = (None, false, false);
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or("a header without a value")?;
        match name {
            "content-length" if len.is_some() => return Err("two lengths".into()),
            "content-length" => len = Some(value.parse::<usize>().map_err(|_| "a wrong length")?),
            "connection" => closes = value == "close",
            "content-type" => json = value == "application/json",
            "transfer-encoding" => return Err("an answer in chunks".into()),
            _ => {}
        }
    }
    let len = len.ok_or("no length")?;
    // No body here begins like an answer: a HEAD's has none, and others may follow.
    let absent = len > 0 && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
    let body = if absent { &[][..] } else { rest.get(..len).ok_or("a body that is cut short")? };
    rest = &rest[body.len()..];
    let mut reason = None;
    if json && !absent {
        let document: serde_json::Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        reason = document.pointer("/error/reason").and_then(|reason| reason.as_str()).map(str::to_owned);
    }
    Ok((Some(Reply { status, reason, body: body.to_vec(), closes }), rest))
}
