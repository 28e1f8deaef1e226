//! From values to WebAssembly's numbers, and back.

use wasmtime::{Val, ValType};

use crate::base::error::CallError;
use crate::value::Value;

/// Arguments as numbers of these types.
///
/// An integer of 32 or 64 bits has no sign in WebAssembly: it may be given as a signed one or as an unsigned one.
///
/// # Errors
/// [`CallError::Arguments`] that names the first one that is none.
pub(super) fn numbers(values: &[Value], types: &[ValType]) -> Result<Vec<Val>, CallError> {
    values.iter().zip(types).enumerate().map(|(index, (value, ty))| number(value, ty, index)).collect()
}

fn number(value: &Value, ty: &ValType, index: usize) -> Result<Val, CallError> {
    let number = match ty {
        ValType::I32 => integer(value)
            .and_then(|it| i32::try_from(it).ok().or_else(|| u32::try_from(it).ok().map(u32::cast_signed)))
            .map(Val::I32),
        ValType::I64 => integer(value)
            .and_then(|it| i64::try_from(it).ok().or_else(|| u64::try_from(it).ok().map(u64::cast_signed)))
            .map(Val::I64),
        #[expect(clippy::cast_possible_truncation, reason = "it is the guest that asks for less")]
        ValType::F32 => value.as_float().map(|float| Val::F32((float as f32).to_bits())),
        ValType::F64 => value.as_float().map(|float| Val::F64(float.to_bits())),
        _ => None,
    };
    number.ok_or_else(|| CallError::Arguments {
        path: index.to_string(),
        message: match value {
            Value::Int(_) | Value::Float(_) => format!("argument {index} does not fit into an {ty}"),
            _ => format!("argument {index} has to be an {ty}, and is {}", value.kind()),
        },
    })
}

fn integer(value: &Value) -> Option<i128> {
    value.as_integer()
}

/// What a function returned, as a value.
pub(super) fn result(results: &[Val]) -> Value {
    match results {
        [] => Value::Null,
        [one] => value(one),
        several => Value::List(several.iter().map(value).collect()),
    }
}

/// A number as a value.
pub(super) fn value(number: &Val) -> Value {
    match number {
        Val::I32(integer) => Value::Int((*integer).into()),
        Val::I64(integer) => Value::Int((*integer).into()),
        Val::F32(bits) => Value::Float(Value::widened(f32::from_bits(*bits))),
        Val::F64(bits) => Value::Float(f64::from_bits(*bits)),
        // Functions with others are not called, nor linked.
        _ => Value::Null,
    }
}
