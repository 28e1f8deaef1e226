//! From values to JSON, compact, in pieces.

use std::io::Write;

use super::Value;

/// Values after which the writer pauses.
const PIECE: usize = 512;
/// Bytes of JSON after which it does, however few the values are.
const PIECE_BYTES: usize = 8 << 10;
/// Bytes of a list that are written at once.
const BYTES: usize = 1_024;
/// Bytes of a text that are written at once.
const TEXT: usize = 8 << 10;

/// What is to be written next.
enum Next<'a> {
    Value(&'a Value),
    /// The rest of a list.
    Elements(&'a [Value]),
    /// The rest of a record.
    Fields(&'a [(Box<str>, Value)]),
    /// The rest of a list of bytes.
    Bytes(&'a [u8]),
    /// The rest of a string.
    Within(&'a str),
    /// What stands between values.
    Mark(&'static str),
}

/// The JSON of a value, if it has at most so many bytes; `pause` is awaited every so often.
///
/// A name is a string; a name with a value an object of one member; what is not there, `null`; flags, the array of those that are
/// set; bytes, an array of numbers. Numbers that JSON lacks are the strings `NaN`, `Infinity` and `-Infinity`.
pub async fn write<F: Future<Output = ()>>(
    value: &Value,
    most_bytes: usize,
    mut pause: impl FnMut() -> F,
) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    let mut stack = vec![Next::Value(value)];
    // Since the last pause: values, and where the JSON ended.
    let (mut values, mut end) = (0_usize, 0);
    while let Some(next) = stack.pop() {
        values += 1;
        if values >= PIECE || json.len() - end >= PIECE_BYTES {
            if json.len() > most_bytes {
                return None;
            }
            (values, end) = (0, json.len());
            pause().await;
        }
        match next {
            Next::Mark(text) => json.extend_from_slice(text.as_bytes()),
            Next::Elements(values) => {
                if let [value, rest @ ..] = values {
                    if !rest.is_empty() {
                        stack.push(Next::Elements(rest));
                        stack.push(Next::Mark(","));
                    }
                    stack.push(Next::Value(value));
                }
            }
            Next::Fields(fields) => {
                if let [(name, value), rest @ ..] = fields {
                    if !rest.is_empty() {
                        stack.push(Next::Fields(rest));
                        stack.push(Next::Mark(","));
                    }
                    string(&mut json, name);
                    json.push(b':');
                    stack.push(Next::Value(value));
                }
            }
            Next::Bytes(bytes) => {
                let (piece, rest) = bytes.split_at(bytes.len().min(BYTES));
                if !rest.is_empty() {
                    stack.push(Next::Bytes(rest));
                    stack.push(Next::Mark(","));
                }
                for (index, byte) in piece.iter().enumerate() {
                    if index > 0 {
                        json.push(b',');
                    }
                    text(&mut json, byte);
                }
            }
            Next::Within(text) => {
                let (piece, rest) = text.split_at(text.floor_char_boundary(TEXT));
                if !rest.is_empty() {
                    stack.push(Next::Within(rest));
                }
                escaped(&mut json, piece);
            }
            Next::Value(value) => one(&mut json, value, &mut stack),
        }
    }
    (json.len() <= most_bytes).then_some(json)
}

fn one<'a>(json: &mut Vec<u8>, value: &'a Value, stack: &mut Vec<Next<'a>>) {
    match value {
        Value::Null | Value::Option(None) | Value::Handle(_) => json.extend_from_slice(b"null"),
        Value::Bool(value) => json.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(integer) => text(json, integer),
        Value::Float(float) | Value::Rounded(float) => self::float(json, *float),
        Value::Text(text) | Value::Name(text) if text.len() > TEXT => {
            json.push(b'"');
            stack.push(Next::Mark("\""));
            stack.push(Next::Within(text));
        }
        Value::Text(text) | Value::Name(text) => string(json, text),
        Value::Bytes(bytes) | Value::ByteList(bytes) => {
            json.push(b'[');
            stack.push(Next::Mark("]"));
            if !bytes.is_empty() {
                stack.push(Next::Bytes(bytes));
            }
        }
        Value::Case(name, value) => {
            json.push(b'{');
            string(json, name);
            json.push(b':');
            stack.push(Next::Mark("}"));
            stack.push(Next::Value(value));
        }
        Value::Option(Some(value)) if value.needs_some() => {
            json.extend_from_slice(b"{\"some\":");
            stack.push(Next::Mark("}"));
            stack.push(Next::Value(value));
        }
        Value::Option(Some(value)) => stack.push(Next::Value(value)),
        Value::List(values) | Value::Tuple(values) => {
            json.push(b'[');
            stack.push(Next::Mark("]"));
            stack.push(Next::Elements(values));
        }
        Value::Record(fields) => {
            json.push(b'{');
            stack.push(Next::Mark("}"));
            stack.push(Next::Fields(fields));
        }
        Value::Flags(flags) => {
            json.push(b'[');
            for (index, (name, _set)) in flags.iter().filter(|(_name, set)| *set).enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                string(json, name);
            }
            json.push(b']');
        }
    }
}

fn float(json: &mut Vec<u8>, value: f64) {
    match value {
        _ if value.is_nan() => json.extend_from_slice(b"\"NaN\""),
        f64::INFINITY => json.extend_from_slice(b"\"Infinity\""),
        f64::NEG_INFINITY => json.extend_from_slice(b"\"-Infinity\""),
        // As short as can be read back.
        _ => drop(serde_json::to_writer(json, &value)),
    }
}

fn string(json: &mut Vec<u8>, text: &str) {
    // A vector takes whatever is written, and a string can be written.
    drop(serde_json::to_writer(json, text));
}

/// A string without what stands around it.
fn escaped(json: &mut Vec<u8>, text: &str) {
    let begin = json.len();
    string(json, text);
    json.pop();
    json.remove(begin);
}

fn text(json: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    drop(write!(json, "{value}"));
}
