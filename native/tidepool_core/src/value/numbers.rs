//! From values to WebAssembly's numbers, and back.

use wasmtime::{Val, ValType};

use super::Value;

/// Is it a type of numbers that callers may give?
pub(crate) fn is_number(ty: &ValType) -> bool {
    matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
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
        Value::Int(_) | Value::Float(_) | Value::Rounded(_) => format!("does not fit into an {ty}"),
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
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    //! Numbers come back as they went in, and what fits into no number is refused.

    use proptest::prelude::*;
    use wasmtime::{Val, ValType};

    use super::Value;
    use super::{number, value};

    const TYPES: [ValType; 4] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];

    #[test]
    fn an_integer_is_taken_signed_and_unsigned_and_comes_back_signed() {
        for (ty, least, most) in [
            (ValType::I32, i128::from(i32::MIN), i128::from(u32::MAX)),
            (ValType::I64, i128::from(i64::MIN), i128::from(u64::MAX)),
        ] {
            for integer in [least, -1, 0, 1, most] {
                let back = value(&number(&Value::Int(integer), &ty).unwrap());
                let signed = if integer > most / 2 { integer - most - 1 } else { integer };
                assert_eq!(back, Value::Int(signed), "{integer} as {ty}");
            }
            for integer in [least - 1, most + 1, i128::MIN, i128::MAX] {
                let fault = number(&Value::Int(integer), &ty).unwrap_err();
                assert_eq!(fault, format!("does not fit into an {ty}"), "{integer}");
            }
        }
    }

    #[test]
    fn a_float_without_a_fraction_is_an_integer_and_another_is_none() {
        let int = |float| number(&Value::Float(float), &ValType::I64).map(|number| value(&number));
        assert_eq!(int(-0.0), Ok(Value::Int(0)));
        assert_eq!(int(1e15), Ok(Value::Int(1_000_000_000_000_000)));
        for float in [0.5, 1e16, f64::NAN, f64::INFINITY] {
            assert!(int(float).is_err(), "{float}");
        }
    }

    #[test]
    fn what_is_no_number_is_none_of_any_type() {
        for ty in TYPES {
            for value in [Value::Null, Value::Bool(true), Value::Text("1".into()), Value::List(vec![Value::Int(1)])] {
                assert!(number(&value, &ty).unwrap_err().starts_with("has to be an"), "{value:?} as {ty}");
            }
        }
        assert!(number(&Value::Int(1), &ValType::V128).is_err());
    }

    #[test]
    fn a_number_beyond_the_largest_float_of_its_type_does_not_become_infinite() {
        for float in [3.5e38, -3.5e38, f64::MAX] {
            assert!(number(&Value::Float(float), &ValType::F32).is_err(), "{float}");
        }
        let infinite = number(&Value::Float(f64::NEG_INFINITY), &ValType::F32).unwrap();
        assert_eq!(value(&infinite), Value::Float(f64::NEG_INFINITY));
    }

    proptest! {
        #[test]
        fn every_float_of_32_bits_comes_back_as_itself(bits in any::<u32>()) {
            let float = f32::from_bits(bits);
            let Value::Float(wide) = value(&Val::F32(bits)) else { panic!("it is no float") };
            let Ok(Val::F32(back)) = number(&Value::Float(wide), &ValType::F32) else { panic!("{float} does not fit") };
            prop_assert!(back == bits || float.is_nan() && f32::from_bits(back).is_nan(), "{} came back as {}", bits, back);
            prop_assert_eq!(float.to_string(), wide.to_string());
        }

        #[test]
        fn every_float_of_64_bits_comes_back_as_itself(bits in any::<u64>()) {
            let Ok(Val::F64(back)) = number(&value(&Val::F64(bits)), &ValType::F64) else { panic!("it does not fit") };
            prop_assert_eq!(back, bits);
        }
    }
}
