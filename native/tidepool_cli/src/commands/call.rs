//! `tidepool call`, and how all calls send and show what they are about.

use std::path::PathBuf;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::members::{list, shown, text};
use crate::context::{Context, read};
use crate::failure::Failure;
use crate::node::{NodeError, Path};

/// `tidepool call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Which function
    name: String,
    /// Which operation [default: the function's own]
    operation: Option<String>,
    #[command(flatten)]
    payload: Payload,
}

impl Call {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let path = match &self.operation {
            None => Path::of(&["call", &self.name]),
            Some(operation) => Path::of(&["call", &self.name, operation]),
        };
        call(context, &path, &self.payload)
    }
}

/// What a call is about.
#[derive(Debug, Args)]
pub(crate) struct Payload {
    /// The payload, as text
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// A file with the payload; - is standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Payload {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        match (&self.data, &self.file) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(path)) => read(path),
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// Calls what is at the path, and shows the reply as it is.
///
/// # Errors
///
/// When the node refuses it, or the guest fails: what it left behind is shown, too.
pub(crate) fn call(context: &Context, path: &Path, payload: &Payload) -> Result<(), Failure> {
    let node = context.node()?;
    let payload = payload.bytes()?;
    let began = Instant::now();
    let answer = node.call(path, payload).inspect_err(|error| last_words(context, error))?;
    let ms = began.elapsed().as_millis() as u64;
    if !context.output.is_json() {
        return Ok(context.output.bytes(&answer.body)?);
    }
    let value = match String::from_utf8(answer.body) {
        Ok(reply) => json!({ "status": answer.status, "ms": ms, "reply": reply }),
        Err(other) => {
            json!({ "status": answer.status, "ms": ms, "reply_base64": BASE64_STANDARD.encode(other.as_bytes()) })
        }
    };
    Ok(context.output.say(&value, String::new)?)
}

/// What a guest printed before it was stopped, and where it was.
fn last_words(context: &Context, error: &NodeError) {
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
