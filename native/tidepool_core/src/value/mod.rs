//! Values that callers and guests exchange, apart from the type that a guest gives them: what calls of typed exports take and
//! return, and what their imports are asked with.
//!
//! A caller says them as JSON ([`read()`], [`write()`]) or hands them over as they are. Which type they have to be of is for the ABI
//! to say: here a name may be an enum's case, a flag or a text, and a number an integer of any width.

mod handle;
#[cfg(test)]
mod json_tests;
pub(crate) mod numbers;
mod read;
mod write;

use bytes::Bytes;

pub use handle::Handle;
pub(crate) use handle::Home;
pub use read::{JsonError, read, shown};
pub use write::write;

/// Deepest nesting of a value; no type of a guest's is as deep.
pub const MAX_DEPTH: usize = 64;
/// Most values of one list of arguments, or of one result, those within others counted: they are converted in one go, 10 to 40 ns
/// each.
pub const MAX_COUNT: usize = 1 << 16;

/// How an argument without a name is told from the others, in messages and paths: by its place, from 1.
#[must_use]
pub fn place(index: usize) -> String {
    index.saturating_add(1).to_string()
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: what a function without a result returns.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// The floating-point number without a fraction that is nearest to one that has some, as 1 is to 0.99999999999999999: no integer.
    Rounded(f64),
    /// A text, or a character.
    Text(Box<str>),
    /// Bytes, which may be a text.
    Bytes(Bytes),
    /// A list of integers that are bytes: JSON has no other bytes.
    ByteList(Bytes),
    /// A name without a value: a case of an enum, a variant or a result.
    Name(Box<str>),
    /// A name with a value: a case of a variant or a result.
    Case(Box<str>, Box<Value>),
    /// What may be there.
    Option(Option<Box<Value>>),
    /// Elements of one type.
    List(Vec<Value>),
    /// Elements of a type each.
    Tuple(Vec<Value>),
    /// Values by name, each name once.
    Record(Vec<(Box<str>, Value)>),
    /// Which of its names are set.
    Flags(Vec<(Box<str>, bool)>),
    /// A resource. JSON has none.
    Handle(Handle),
}

impl Value {
    /// What it takes, roughly, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let own = size_of::<Value>();
        let within = match self {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Option(None) | Value::Handle(_) => 0,
            Value::Float(_) | Value::Rounded(_) => 0,
            Value::Text(text) | Value::Name(text) => text.len(),
            Value::Bytes(bytes) | Value::ByteList(bytes) => bytes.len(),
            Value::Case(name, value) => name.len() + value.size(),
            Value::Option(Some(value)) => value.size(),
            Value::List(values) | Value::Tuple(values) => values.iter().map(Value::size).sum(),
            Value::Record(fields) => fields.iter().map(|(name, value)| name.len() + value.size()).sum(),
            Value::Flags(flags) => flags.iter().map(|(name, _set)| name.len() + 1).sum(),
        };
        own + within
    }

    /// How many values it is made of, each byte counted.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Value::Bytes(bytes) | Value::ByteList(bytes) => 1 + bytes.len(),
            Value::Case(_, value) | Value::Option(Some(value)) => 1 + value.count(),
            Value::List(values) | Value::Tuple(values) => values.iter().map(Value::count).sum::<usize>() + 1,
            Value::Record(fields) => fields.iter().map(|(_name, value)| value.count()).sum::<usize>() + 1,
            _ => 1,
        }
    }

    /// Is there a resource in it?
    #[must_use]
    pub fn has_handle(&self) -> bool {
        match self {
            Value::Handle(_) => true,
            Value::Case(_, value) | Value::Option(Some(value)) => value.has_handle(),
            Value::List(values) | Value::Tuple(values) => values.iter().any(Value::has_handle),
            Value::Record(fields) => fields.iter().any(|(_name, value)| value.has_handle()),
            _ => false,
        }
    }

    /// Is what may be there told as `{"some": …}` in JSON, when it is this? Else it would be read as another value.
    #[must_use]
    pub fn needs_some(&self) -> bool {
        match self {
            Value::Option(_) => true,
            Value::Case(name, _value) => &**name == "some",
            Value::Record(fields) => matches!(&fields[..], [(name, _value)] if &**name == "some"),
            _ => false,
        }
    }

    /// It as bytes, if it is some, or a list of them.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Bytes(bytes) | Value::ByteList(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// It as an integer: one, or a number without a fraction.
    #[must_use]
    pub fn as_integer(&self) -> Option<i128> {
        /// Below it each integer is a floating-point number of its own; it is also what the next integer would be rounded to.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Value::Int(integer) => Some(*integer),
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and is small")]
            Value::Float(float) if float.fract() == 0.0 && float.abs() < EXACT => Some(*float as i128),
            _ => None,
        }
    }

    /// It as a floating-point number; what JSON has no number for may be told by name.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "it is the nearest one")]
            Value::Int(integer) => Some(*integer as f64),
            Value::Float(float) | Value::Rounded(float) => Some(*float),
            Value::Text(name) | Value::Name(name) => match &**name {
                "NaN" | "nan" => Some(f64::NAN),
                "Infinity" | "infinity" => Some(f64::INFINITY),
                "-Infinity" | "neg_infinity" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            _ => None,
        }
    }

    /// The number that is written like this one, so that 0.1 stays 0.1; this one, should that be another when it comes back.
    #[must_use]
    pub fn widened(float: f32) -> f64 {
        let written = float.to_string().parse().ok();
        written.filter(|wide| Value::narrowed(*wide) == Some(float)).unwrap_or_else(|| f64::from(float))
    }

    /// The nearest number of half the size, unless it is beyond the largest one.
    #[must_use]
    pub fn narrowed(float: f64) -> Option<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "it is the guest that asks for less")]
        let narrow = float as f32;
        (narrow.is_finite() || !float.is_finite()).then_some(narrow)
    }

    /// What kind of value it is, for messages: `an integer`, `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null | Value::Option(None) => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "an integer",
            Value::Float(_) | Value::Rounded(_) => "a floating-point number",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::Name(_) => "a name",
            Value::Case(..) => "a name with a value",
            Value::Option(Some(value)) => value.kind(),
            Value::List(_) | Value::ByteList(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Record(_) => "a record",
            Value::Flags(_) => "flags",
            Value::Handle(_) => "a resource",
        }
    }
}
