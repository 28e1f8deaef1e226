//! JSON for the edge: terms to text and back.

use rustler::types::map::MapIterator;
use rustler::{Atom, Encoder, Env, NifResult, Term, TermType};
use serde_json::{Map, Number, Value};

use crate::terms::atoms;
use crate::terms::decode::List;

/// Deepest nesting that is encoded.
const MAX_DEPTH: u32 = 64;

/// `term` as JSON text: maps (keys atoms or binaries), lists, binaries (made UTF-8), numbers, atoms.
#[rustler::nif]
fn json_encode(term: Term<'_>) -> NifResult<String> {
    Ok(value(term, MAX_DEPTH)?.to_string())
}

/// The same of a term that takes a scheduler longer than it may be held.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_large(term: Term<'_>) -> NifResult<String> {
    Ok(value(term, MAX_DEPTH)?.to_string())
}

/// `{:ok, term}` with binaries as keys, or `{:error, message}`.
#[rustler::nif]
fn json_decode<'a>(env: Env<'a>, text: rustler::Binary<'a>) -> Term<'a> {
    decoded(env, text.as_slice())
}

/// The same of a text that takes a scheduler longer than it may be held.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode_large<'a>(env: Env<'a>, text: rustler::Binary<'a>) -> Term<'a> {
    decoded(env, text.as_slice())
}

fn decoded<'a>(env: Env<'a>, text: &[u8]) -> Term<'a> {
    match serde_json::from_slice::<Value>(text) {
        Ok(value) => (atoms::ok(), term(env, &value)).encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    }
}

fn value(term: Term<'_>, depth: u32) -> NifResult<Value> {
    let below = depth.checked_sub(1).ok_or(rustler::Error::BadArg)?;
    Ok(match term.get_type() {
        TermType::Atom => {
            if atoms::nil() == term {
                Value::Null
            } else if let Ok(flag) = term.decode::<bool>() {
                Value::Bool(flag)
            } else {
                Value::String(term.atom_to_string()?)
            }
        }
        TermType::Integer => match term.decode::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(term.decode::<u64>()?),
        },
        TermType::Float => Number::from_f64(term.decode()?).map_or(Value::Null, Value::Number),
        TermType::Binary => Value::String(text(term)?),
        TermType::List => {
            let List(items) = term.decode::<List<Term<'_>>>()?;
            Value::Array(items.into_iter().map(|item| value(item, below)).collect::<NifResult<_>>()?)
        }
        TermType::Map => {
            let mut map = Map::new();
            for (key, item) in MapIterator::new(term).ok_or(rustler::Error::BadArg)? {
                let key = if key.is_atom() { key.atom_to_string()? } else { text(key)? };
                map.insert(key, value(item, below)?);
            }
            Value::Object(map)
        }
        _ => return Err(rustler::Error::BadArg),
    })
}

fn text(term: Term<'_>) -> NifResult<String> {
    let bytes: rustler::Binary<'_> = term.decode()?;
    Ok(String::from_utf8_lossy(bytes.as_slice()).into_owned())
}

/// A JSON value as a term. Keys stay binaries: what comes from outside never becomes an atom.
fn term<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    match value {
        Value::Null => atoms::nil().encode(env),
        Value::Bool(flag) => flag.encode(env),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.encode(env),
            (None, Some(number), _) => number.encode(env),
            (None, None, Some(number)) => number.encode(env),
            (None, None, None) => nil(env),
        },
        Value::String(text) => text.encode(env),
        Value::Array(items) => items.iter().map(|item| term(env, item)).collect::<Vec<_>>().encode(env),
        Value::Object(map) => {
            // At once: a map that grows key by key is copied as often.
            let pairs: Vec<_> = map.iter().map(|(key, item)| (key, term(env, item))).collect();
            Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| Term::map_new(env))
        }
    }
}

fn nil(env: Env<'_>) -> Term<'_> {
    Atom::encode(&atoms::nil(), env)
}
