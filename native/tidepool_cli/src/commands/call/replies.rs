//! How all calls show what comes back.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::commands::members::{list, shown, text};
use crate::context::Context;
use crate::node::NodeError;

/// What JSON has of each answer.
pub(super) fn said(status: u16, took: Duration) -> Map<String, Value> {
    Map::from_iter([("status".to_owned(), json!(status)), ("ms".to_owned(), json!(took.as_millis() as u64))])
}

/// Adds what was replied: as a text, where it is one.
pub(super) fn add(value: &mut Map<String, Value>, reply: Vec<u8>) {
    match String::from_utf8(reply) {
        Ok(reply) => value.insert("reply".to_owned(), json!(reply)),
        Err(other) => value.insert("reply_base64".to_owned(), json!(BASE64_STANDARD.encode(other.as_bytes()))),
    };
}

/// What a guest printed before it was stopped, and where it was.
pub(super) fn last_words(context: &Context, error: &NodeError) {
    let Some(said) = error.said() else { return };
    match said.get("console") {
        Some(Value::String(printed)) => printed.lines().for_each(|line| context.output.note(&format!("| {line}"))),
        Some(Value::Array(lines)) => lines.iter().for_each(|line| context.output.note(&format!("| {}", shown(line)))),
        _ => {}
    }
    for frame in list(said, "backtrace") {
        let place = match frame.get("file") {
            Some(_) => format!("{}:{}", text(frame, "file"), text(frame, "line")),
            None => format!("offset {}", text(frame, "offset")),
        };
        context.output.note(&format!("at {} ({place})", text(frame, "function")));
    }
}
