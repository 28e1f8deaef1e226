//! Arguments and answers as the numbers that a function takes and returns.

use smallvec::SmallVec;
use wasmtime::{Val, ValType};

use crate::base::error::CallError;
use crate::value::numbers::number;
use crate::value::{Value, place};

/// Numbers that a function takes or returns. Most have few, which take no memory of their own.
pub(super) type Numbers = SmallVec<[Val; 4]>;

/// Arguments as numbers of these types.
///
/// # Errors
/// [`CallError::Arguments`] that names the first one that is none.
pub(super) fn numbers(values: &[Value], types: impl IntoIterator<Item = ValType>) -> Result<Numbers, CallError> {
    let mut numbers = Numbers::with_capacity(values.len());
    for (index, (value, ty)) in values.iter().zip(types).enumerate() {
        let fault = |fault| {
            let path = place(index);
            CallError::Arguments { message: format!("argument {path} {fault}"), path }
        };
        numbers.push(number(value, &ty).map_err(fault)?);
    }
    Ok(numbers)
}
