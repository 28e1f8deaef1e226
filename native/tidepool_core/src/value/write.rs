//! From values to JSON, compact, in pieces.

use std::io::Write;

use super::Value;

/// Values after which the writer may be asked to pause.
const PIECE: usize = 512;

/// What is to be written next.
enum Next<'a> {
    Value(&'a Value),
    /// The rest of a list.
    Elements(&'a [Value]),
    /// The rest of a record.
    Fields(&'a [(Box<str>, Value)]),
    Text(&'static str),
}

/// The JSON of a value; `pause` is awaited every so often.
///
/// A name is a string; a name with a value an object of one member; what is not there, `null`; flags, the array of those that are
/// set; bytes, an array of numbers. Numbers that JSON lacks are the strings `NaN`, `Infinity` and `-Infinity`.
pub async fn write<F: Future<Output = ()>>(value: &Value, mut pause: impl FnMut() -> F) -> Vec<u8> {
    let mut json = Vec::new();
    let mut stack = vec![Next::Value(value)];
    let mut turn = 0_usize;
    while let Some(next) = stack.pop() {
        turn += 1;
        if turn.is_multiple_of(PIECE) {
            pause().await;
        }
        match next {
            Next::Text(text) => json.extend_from_slice(text.as_bytes()),
            Next::Elements(values) => {
                if let [value, rest @ ..] = values {
                    if !rest.is_empty() {
                        stack.push(Next::Elements(rest));
                        stack.push(Next::Text(","));
                    }
                    stack.push(Next::Value(value));
                }
            }
            Next::Fields(fields) => {
                if let [(name, value), rest @ ..] = fields {
                    if !rest.is_empty() {
                        stack.push(Next::Fields(rest));
                        stack.push(Next::Text(","));
                    }
                    string(&mut json, name);
                    json.push(b':');
                    stack.push(Next::Value(value));
                }
            }
            Next::Value(value) => one(&mut json, value, &mut stack),
        }
    }
    json
}

fn one<'a>(json: &mut Vec<u8>, value: &'a Value, stack: &mut Vec<Next<'a>>) {
    match value {
        Value::Null | Value::Option(None) | Value::Handle(_) => json.extend_from_slice(b"null"),
        Value::Bool(value) => json.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(integer) => text(json, integer),
        Value::Float(float) | Value::Rounded(float) => self::float(json, *float),
        Value::Text(text) | Value::Name(text) => string(json, text),
        Value::Bytes(bytes) | Value::ByteList(bytes) => {
            json.push(b'[');
            for (index, byte) in bytes.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                text(json, byte);
            }
            json.push(b']');
        }
        Value::Case(name, value) => {
            json.push(b'{');
            string(json, name);
            json.push(b':');
            stack.push(Next::Text("}"));
            stack.push(Next::Value(value));
        }
        Value::Option(Some(value)) if value.needs_some() => {
            json.extend_from_slice(b"{\"some\":");
            stack.push(Next::Text("}"));
            stack.push(Next::Value(value));
        }
        Value::Option(Some(value)) => stack.push(Next::Value(value)),
        Value::List(values) | Value::Tuple(values) => {
            json.push(b'[');
            stack.push(Next::Text("]"));
            stack.push(Next::Elements(values));
        }
        Value::Record(fields) => {
            json.push(b'{');
            stack.push(Next::Text("}"));
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

fn text(json: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    drop(write!(json, "{value}"));
}
