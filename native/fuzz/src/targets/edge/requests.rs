//! Requests that are right, written in any of the ways in which they may be: the backend is asked just that.

use bytes::Bytes;
use tidepool_http::{Deploy, Route};

use super::reply::replies;
use super::server::{exchange, shown};
use crate::behaviour::seen;

/// Most requests over a connection.
const MOST: usize = 4;
/// Longest name or text.
const NAME_BYTES: usize = 24;
/// Longest payload; in a query each byte may take three.
const PAYLOAD_BYTES: usize = 255;
const LAST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Has `data` choose requests and how they are written, sends them all at once, and compares what comes back with what
/// was meant.
///
/// # Panics
/// When a request is answered that was not sent, or another way than it was meant.
pub fn requests(data: &[u8]) {
    let mut choices = Choices(data);
    let (mut sent, mut meant) = (Vec::new(), Vec::new());
    while !choices.0.is_empty() && meant.len() < MOST {
        let choice = choices.byte();
        let route =
            if choice % 5 == 4 { form(&mut choices, &mut sent) } else { call(choice % 5, &mut choices, &mut sent) };
        meant.push(route);
    }
    sent.extend_from_slice(LAST);
    let got = exchange(&[&sent]);
    if got.cut {
        return;
    }
    let replies = replies(&got.bytes).unwrap_or_else(|wrong| panic!("{wrong}"));
    let found: Vec<_> = replies.iter().map(|reply| (reply.status, String::from_utf8_lossy(&reply.body))).collect();
    let meant: Vec<_> = meant.into_iter().map(|text| (200, text.into())).chain([(200, "Health".into())]).collect();
    assert_eq!(found, meant, "sent {:?}", String::from_utf8_lossy(&sent));
    seen(&meant.iter().map(|(_, text)| (text.len() / 16, text.starts_with("Deploy"))).collect::<Vec<_>>());
}

/// Bytes that are used up one after another; zeros when there are none left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = usize::from(self.byte()).min(most).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }

    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.bytes(NAME_BYTES)).into_owned();
        // These have other limits.
        if text.is_empty() || text == "tiny" || text == "absent" { "f".into() } else { text }
    }
}

/// `bytes` as they may stand in a path or query: what has to be escaped is, in either case; the rest as `choices` will.
fn escaped(bytes: &[u8], choices: &mut Choices<'_>, query: bool) -> String {
    let mut text = String::new();
    let how = choices.byte();
    for (index, byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@".contains(byte) || (*byte == b'+' && !query);
        let escapes_all = how >> (index % 8) & 1 == 1;
        match byte {
            b' ' if query && !escapes_all => text.push('+'),
            _ if plain && !escapes_all => text.push(char::from(*byte)),
            _ if how.is_multiple_of(3) => text.push_str(&format!("%{byte:02x}")),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Writes a call, and gives what the answer will be.
fn call(kind: u8, choices: &mut Choices<'_>, sent: &mut Vec<u8>) -> String {
    let function = choices.text();
    let operation = (choices.byte() % 2 == 1).then(|| choices.text());
    let payload = choices.bytes(PAYLOAD_BYTES);
    let mut path = format!("/call/{}", escaped(function.as_bytes(), choices, false));
    if let Some(operation) = &operation {
        path = format!("{path}/{}", escaped(operation.as_bytes(), choices, false));
    }
    let host = ["Host: localhost", "host:localhost:80", "HOST:   127.0.0.1  ", "hOsT:\t[::1]:4000"];
    let host = host[usize::from(choices.byte()) % host.len()];
    match kind {
        0 | 1 => {
            let around = [("", ""), ("a=b&", ""), ("&&", "&"), ("payloads=1&=&", "&x=%ff"), ("%50=1&", "")];
            let (before, after) = around[usize::from(choices.byte()) % around.len()];
            let name = ["payload", "%70ayload", "p%61%79load"][usize::from(choices.byte()) % 3];
            let payload = escaped(&payload, choices, true);
            sent.extend(format!("GET {path}?{before}{name}={payload}{after} HTTP/1.1\r\n{host}\r\n\r\n").bytes());
        }
        2 => {
            sent.extend(format!("POST {path} HTTP/1.1\r\n{host}\r\nContent-Length: {}\r\n\r\n", payload.len()).bytes());
            sent.extend_from_slice(&payload);
        }
        _ => {
            sent.extend(format!("POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: Chunked\r\n\r\n").bytes());
            let mut rest = payload.as_slice();
            while !rest.is_empty() {
                let len = (1 + usize::from(choices.byte()) % 32).min(rest.len());
                let (chunk, behind) = rest.split_at(len);
                rest = behind;
                let extension = ["", ";a", ";a=b", " ; a=\"b\""][usize::from(choices.byte()) % 4];
                let zeros = "0".repeat(usize::from(choices.byte() % 4));
                sent.extend(format!("{zeros}{len:x}{extension}\r\n").bytes());
                sent.extend_from_slice(chunk);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(if choices.byte().is_multiple_of(2) { b"0\r\n\r\n" } else { b"0\r\nA: b\r\n\r\n" });
        }
    }
    shown(&Route::Call { function, operation, payload: Bytes::from(payload), trace: None })
}

/// Writes a deploy, and gives what the answer will be.
fn form(choices: &mut Choices<'_>, sent: &mut Vec<u8>) -> String {
    let mut wasm = choices.bytes(PAYLOAD_BYTES);
    // Whoever writes a form chooses a boundary that its content does not have.
    while let Some(at) = wasm.windows(4).position(|window| window == b"--x9") {
        wasm[at] = b'+';
    }
    let fields = choices.byte() % 8;
    let mut deploy = Deploy { wasm: Some(Bytes::from(wasm)), file_name: Some("a.wasm".into()), ..Deploy::default() };
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for _ in 0..fields {
        let name = ["name", "operation", "label", "", "é", "WASM"][usize::from(choices.byte()) % 6];
        let text = choices.text().replace("--x9", "+");
        parts.push(format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}").into_bytes());
        deploy.fields.push((name.into(), text));
    }
    let file: &[u8] =
        b"content-type:application/wasm\r\ncontent-disposition: form-data; name=\"wasm\"; filename=\"/b/a.wasm\"";
    let at = usize::from(choices.byte()) % (parts.len() + 1);
    parts.insert(at, [file, b"\r\n\r\n", deploy.wasm.as_deref().unwrap_or_default()].concat());
    let mut body = Vec::new();
    for part in &parts {
        body.extend_from_slice(b"--x9\r\n");
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--x9--\r\n");
    let query = choices.bytes(NAME_BYTES);
    let query = String::from_utf8_lossy(&query).into_owned();
    let written = escaped(query.as_bytes(), choices, true);
    sent.extend(
        format!(
            "POST /deploy?wait={written} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x9\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .bytes(),
    );
    sent.extend_from_slice(&body);
    deploy.query = vec![("wait".into(), query)];
    format!("{deploy:?}")
}
