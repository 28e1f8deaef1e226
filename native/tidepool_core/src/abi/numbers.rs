//! From values to WebAssembly's numbers, and back.

use smallvec::SmallVec;
use wasmtime::{Val, ValType};

use crate::base::error::CallError;
use crate::value::Value;

/// Numbers that a function takes or returns. Most have few, which take no memory of their own.
pub(crate) type Numbers = SmallVec<[Val; 4]>;

/// Is it a type of numbers that callers may give?
pub(crate) fn is_number(ty: &ValType) -> bool {
    matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
}

/// Arguments as numbers of these types.
///
/// # Errors
/// [`CallError::Arguments`] that names the first one that is none.
pub(crate) fn numbers(values: &[Value], types: &[ValType]) -> Result<Numbers, CallError> {
    let mut numbers = Numbers::with_capacity(types.len());
    for (index, (value, ty)) in values.iter().zip(types).enumerate() {
        let fault =
            |fault| CallError::Arguments { path: index.to_string(), message: format!("argument {index} {fault}") };
        numbers.push(number(value, ty).map_err(fault)?);
    }
    Ok(numbers)
}

/// A value as a number of this type; if it is none, what it has to be.
///
/// An integer of 32 or 64 bits has no sign in WebAssembly: it may be given as a signed one or as an unsigned one.
pub(crate) fn number(value: &Value, ty: &ValType) -> Result<Val, String> {
    let number = match ty {
        ValType::I32 => value
            .as_integer()
            .and_then(|it| i32::try_from(it).ok().or_else(|| u32::try_from(it).ok().map(u32::cast_signed)))
            .map(Val::I32),
        ValType::I64 => value
            .as_integer()
            .and_then(|it| i64::try_from(it).ok().or_else(|| u64::try_from(it).ok().map(u64::cast_signed)))
            .map(Val::I64),
        ValType::F32 => value.as_float().and_then(Value::narrowed).map(|float| Val::F32(float.to_bits())),
        ValType::F64 => value.as_float().map(|float| Val::F64(float.to_bits())),
        _ => None,
    };
    number.ok_or_else(|| match value {
        Value::Int(_) | Value::Float(_) => format!("does not fit into an {ty}"),
        _ => format!("has to be an {ty}, and is {}", value.kind()),
    })
}

/// What a function returned, as a value.
pub(crate) fn result(results: &[Val]) -> Value {
    match results {
        [] => Value::Null,
        [one] => value(one),
        several => Value::List(several.iter().map(value).collect()),
    }
}

/// A number as a value.
pub(crate) fn value(number: &Val) -> Value {
    match number {
        Val::I32(integer) => Value::Int((*integer).into()),
        Val::I64(integer) => Value::Int((*integer).into()),
        Val::F32(bits) => Value::Float(Value::widened(f32::from_bits(*bits))),
        Val::F64(bits) => Value::Float(f64::from_bits(*bits)),
        // Functions with others are not called, nor linked.
        _ => Value::Null,
    }
}

#[cfg(test)]
#[path = "numbers_tests.rs"]
mod tests;
