//! From JSON to values, in pieces: a payload may be large, and who reads it has no thread of its own.

use json_event_parser::{JsonEvent, SliceJsonParser};

use super::{MAX_COUNT, MAX_DEPTH, Value};

/// Events after which the reader may be asked to pause: some 20 µs.
const PIECE: usize = 256;

/// Characters of a text that a message has, at most.
const SHOWN: usize = 200;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Syntax(String),
    /// It is nested too deeply.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// It has too many values.
    #[error("it has more than {MAX_COUNT} values")]
    Count,
    /// A name is given twice in one object.
    #[error("it has the name {0:?} twice in one object")]
    Twice(String),
}

/// From so many elements on a list of bytes is kept as such: it takes a byte for each, and counts as no more values.
const LONG: usize = 1_024;

/// A value that is not closed yet.
enum Open {
    List(Vec<Value>),
    /// A list within another, of bytes alone so far.
    Bytes(Vec<u8>),
    Record(Vec<(Box<str>, Value)>, Option<Box<str>>),
}

/// The value that a JSON text says; `pause` is awaited every so often. Names keep their order.
///
/// # Errors
/// A [`JsonError`] that says what is wrong, and where.
pub async fn read<F: Future<Output = ()>>(json: &[u8], mut pause: impl FnMut() -> F) -> Result<Value, JsonError> {
    let mut parser = SliceJsonParser::new(json);
    let (mut open, mut count, mut whole): (Vec<Open>, usize, Option<Value>) = (Vec::new(), 0, None);
    for turn in 1_usize.. {
        if turn.is_multiple_of(PIECE) {
            pause().await;
        }
        let event = parser.parse_next().map_err(|error| JsonError::Syntax(shown(&error.to_string())))?;
        count += usize::from(!matches!(
            event,
            JsonEvent::ObjectKey(_) | JsonEvent::EndArray | JsonEvent::EndObject | JsonEvent::Eof
        ));
        if count > MAX_COUNT {
            return Err(JsonError::Count);
        }
        let value = match event {
            JsonEvent::Eof => break,
            JsonEvent::StartArray => {
                open.push(if open.is_empty() { Open::List(Vec::new()) } else { Open::Bytes(Vec::new()) });
                None
            }
            JsonEvent::StartObject => {
                open.push(Open::Record(Vec::new(), None));
                None
            }
            JsonEvent::ObjectKey(key) => {
                if let Some(Open::Record(_fields, name)) = open.last_mut() {
                    *name = Some(key.into());
                }
                None
            }
            JsonEvent::EndArray | JsonEvent::EndObject => open.pop().map(closed).transpose()?,
            JsonEvent::String(text) => Some(Value::Text(text.into())),
            JsonEvent::Number(digits) => Some(number(&digits)?),
            JsonEvent::Boolean(value) => Some(Value::Bool(value)),
            JsonEvent::Null => Some(Value::Null),
        };
        if open.len() > MAX_DEPTH {
            return Err(JsonError::Depth);
        }
        let Some(value) = value else { continue };
        if let Some(Open::Bytes(bytes)) = open.last_mut() {
            if let Some(byte) = as_byte(&value) {
                bytes.push(byte);
                count -= usize::from(bytes.len() > LONG);
                continue;
            }
            count += bytes.len().saturating_sub(LONG);
            if count > MAX_COUNT {
                return Err(JsonError::Count);
            }
            let values = bytes.iter().map(|byte| Value::Int((*byte).into())).collect();
            open.pop();
            open.push(Open::List(values));
        }
        match open.last_mut() {
            Some(Open::List(values)) => values.push(value),
            Some(Open::Bytes(_)) => {}
            Some(Open::Record(fields, name)) => fields.extend(name.take().map(|name| (name, value))),
            None => whole = Some(value),
        }
    }
    whole.ok_or_else(|| JsonError::Syntax("it is empty".into()))
}

/// Names that are there twice are found by sorting: an object may have very many.
fn closed(open: Open) -> Result<Value, JsonError> {
    match open {
        Open::List(values) => Ok(Value::List(values)),
        Open::Bytes(bytes) if bytes.len() >= LONG => Ok(Value::ByteList(bytes.into())),
        Open::Bytes(bytes) => Ok(Value::List(bytes.into_iter().map(|byte| Value::Int(byte.into())).collect())),
        Open::Record(fields, _name) => {
            let mut names: Vec<&str> = fields.iter().map(|(name, _value)| &**name).collect();
            names.sort_unstable();
            match names.array_windows().find(|[one, next]| one == next) {
                Some([name, _same]) => Err(JsonError::Twice(shown(name))),
                None => Ok(Value::Record(fields)),
            }
        }
    }
}

fn as_byte(value: &Value) -> Option<u8> {
    if let Value::Int(integer) = value { u8::try_from(*integer).ok() } else { None }
}

/// Integers are those that are written as such, but for -0, which no integer is.
fn number(digits: &str) -> Result<Value, JsonError> {
    match digits.parse() {
        Ok(0) if digits.starts_with('-') => return Ok(Value::Float(-0.0)),
        Ok(integer) => return Ok(Value::Int(integer)),
        Err(_) => {}
    }
    match digits.parse::<f64>() {
        // What would be an integer by its nearest number has to be one by its own digits.
        Ok(float) if float.fract() == 0.0 && !is_whole(digits) => Ok(Value::Rounded(float)),
        Ok(float) if float.is_finite() => Ok(Value::Float(float)),
        _ => Err(JsonError::Syntax(format!("the number {} is too large", shown(digits)))),
    }
}

/// Is a number of JSON without a fraction, by its digits?
fn is_whole(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0').len();
    let significant = integer.trim_end_matches('0');
    if fraction == 0 && matches!(significant, "" | "-") {
        return true;
    }
    // How far behind the point its last digit is that is none of these zeros; before it when negative.
    let zeros = integer.len().saturating_sub(significant.len());
    let last = if fraction > 0 { i128::try_from(fraction) } else { i128::try_from(zeros).map(|zeros| -zeros) };
    match (exponent.parse::<i128>(), last) {
        (Ok(exponent), Ok(last)) => exponent >= last,
        // No text is as long.
        _ => !exponent.starts_with('-'),
    }
}

/// As much of a text as belongs into a message.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
