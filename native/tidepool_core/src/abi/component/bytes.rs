//! Calls of exports whose arguments and result are bytes and texts: those are copied as they are, without a value for each byte,
//! which takes five hundred times as long.

use wasmtime::Store;
use wasmtime::component::Func;

use super::lifted::Lifted;
use crate::abi::slots::State;
use crate::abi::typed::shape::{Piece, Returned, Shape};
use crate::value::Value;

/// Calls the export; `None` when the arguments are told in another way.
pub(super) async fn call(
    shape: &Shape,
    store: &mut Store<State>,
    function: &Func,
    arguments: &[&Value],
) -> Option<wasmtime::Result<Value>> {
    macro_rules! returning {
        ($params:ty, $values:expr) => {
            match shape.returned {
                Returned::Nothing => called!($params, (), $values, |()| Value::Null),
                Returned::One(Piece::Bytes) => called!($params, (Lifted,), $values, |(it,)| it.value()),
                Returned::One(Piece::Text) => called!($params, (String,), $values, |(it,)| text(it)),
                Returned::Result(Piece::Bytes) => {
                    called!($params, (Result<Lifted, String>,), $values, |(it,)| outcome(it.map(Lifted::value)))
                }
                Returned::Result(Piece::Text) => {
                    called!($params, (Result<String, String>,), $values, |(it,)| outcome(it.map(text)))
                }
            }
        };
    }
    macro_rules! called {
        ($params:ty, $results:ty, $values:expr, |$it:pat_param| $shown:expr) => {
            match function.typed::<$params, $results>(&*store) {
                Ok(function) => function.call_async(&mut *store, $values).await.map(|$it| $shown),
                Err(error) => Err(error),
            }
        };
    }
    Some(match (&shape.params[..], arguments) {
        ([], []) => returning!((), ()),
        ([Piece::Bytes], [one]) => returning!((&[u8],), (&**one.as_bytes()?,)),
        ([Piece::Text], [one]) => returning!((&str,), (as_text(one)?,)),
        ([Piece::Bytes, Piece::Bytes], [one, other]) => {
            returning!((&[u8], &[u8]), (&**one.as_bytes()?, &**other.as_bytes()?))
        }
        ([Piece::Text, Piece::Bytes], [one, other]) => {
            returning!((&str, &[u8]), (as_text(one)?, &**other.as_bytes()?))
        }
        ([Piece::Bytes, Piece::Text], [one, other]) => {
            returning!((&[u8], &str), (&**one.as_bytes()?, as_text(other)?))
        }
        ([Piece::Text, Piece::Text], [one, other]) => {
            returning!((&str, &str), (as_text(one)?, as_text(other)?))
        }
        _ => return None,
    })
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Name(text) => Some(text),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn text(text: String) -> Value {
    Value::Text(text.into())
}

fn outcome(outcome: Result<Value, String>) -> Value {
    match outcome {
        Ok(value) => Value::Case("ok".into(), Box::new(value)),
        Err(error) => Value::Case("error".into(), Box::new(text(error))),
    }
}
