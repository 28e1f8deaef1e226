//! `tidepool call` of a handler of HTTP: a request, whose response is shown as it comes.

use std::time::Instant;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, StatusCode};

use super::replies::{add, last_words, said};
use crate::context::Context;
use crate::failure::Failure;
use crate::node::{Asked, Node, NodeError};

/// The longest body that JSON has whole, in bytes.
const WHOLE_BYTES: usize = 1 << 30;

/// Asks a handler, and shows what it responds; with `include` its head as well.
///
/// # Errors
///
/// When the node refuses it, or the handler fails or says that something did: a status from 400 on.
pub(super) fn request(context: &Context, node: &Node, name: &str, asked: Asked, include: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let response = node.ask(name, asked).inspect_err(|error| last_words(context, error))?;
    let Some(response) = response else { return Err(Failure::NotAHandler { name: name.to_owned() }) };
    let status = response.status;
    if context.output.is_json() {
        let (headers, mut body) = (by_name(&response.headers), Vec::new());
        response.read(|piece| {
            body.extend_from_slice(piece);
            if body.len() > WHOLE_BYTES { Err(too_long(node)) } else { Ok(()) }
        })?;
        let mut value = said(status.as_u16(), began.elapsed());
        value.insert("headers".to_owned(), headers);
        add(&mut value, body);
        context.output.say(&Value::Object(value), String::new)?;
    } else {
        let mut out = context.output.pieces();
        if include {
            out.write(&head(status, &response.headers))?;
        }
        response.read(|piece| out.write(piece).map_err(Failure::from))?;
        out.end()?;
    }
    if status.as_u16() < 400 {
        return Ok(());
    }
    context.output.note(&format!("{name} answered with the status {}", shown(status)));
    Err(Failure::Answered { status: status.as_u16() })
}

fn too_long(node: &Node) -> Failure {
    NodeError::TooLong { address: node.address().to_string(), limit_bytes: WHOLE_BYTES as u64 }.into()
}

/// `404 Not Found`, or the number of one without a name.
fn shown(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(name) => format!("{} {name}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The status and the headers, a line each, and an empty one.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\n", shown(status)).into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
    }
    head.push(b'\n');
    head
}

/// Each header with all its values.
fn by_name(headers: &HeaderMap) -> Value {
    let all = |name| -> Vec<_> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
    };
    Value::Object(headers.keys().map(|name| (name.as_str().to_owned(), json!(all(name)))).collect())
}
