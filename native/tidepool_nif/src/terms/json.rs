//! JSON for the edge: terms to text and back.

use std::fmt::{self, Formatter};

use rustler::types::map::MapIterator;
use rustler::{Atom, Encoder, Env, NifResult, Term, TermType};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tidepool_core::value::shown;

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

/// `{:ok, term}` with binaries as keys, or `{:error, message}`: of what is no JSON, and of an object that has a name twice.
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
    let mut json = serde_json::Deserializer::from_slice(text);
    match Terms(env).deserialize(&mut json).and_then(|term| json.end().map(|()| term)) {
        Ok(term) => (atoms::ok(), term).encode(env),
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

/// JSON as a term. Keys stay binaries: what comes from outside never becomes an atom.
#[derive(Clone, Copy)]
struct Terms<'a>(Env<'a>);

impl<'a, 'de> DeserializeSeed<'de> for Terms<'a> {
    type Value = Term<'a>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Term<'a>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a, 'de> Visitor<'de> for Terms<'a> {
    type Value = Term<'a>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Term<'a>, E> {
        Ok(Atom::encode(&atoms::nil(), self.0))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Term<'a>, E> {
        Ok(flag.encode(self.0))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Term<'a>, E> {
        Ok(number.encode(self.0))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Term<'a>, E> {
        Ok(number.encode(self.0))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Term<'a>, E> {
        Ok(number.encode(self.0))
    }

    fn visit_str<E>(self, text: &str) -> Result<Term<'a>, E> {
        Ok(text.encode(self.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Term<'a>, A::Error> {
        let mut terms = Vec::new();
        while let Some(term) = items.next_element_seed(self)? {
            terms.push(term);
        }
        Ok(terms.encode(self.0))
    }

    // At once: a map that grows key by key is copied as often.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Term<'a>, A::Error> {
        let (mut names, mut terms) = (Vec::<String>::new(), Vec::new());
        while let Some(name) = members.next_key()? {
            names.push(name);
            terms.push(members.next_value_seed(self)?);
        }
        // The VM looks for this in small maps alone.
        if let Some(name) = twice(&names) {
            return Err(A::Error::custom(format!("it has the name {name:?} twice in one object")));
        }
        let keys: Vec<Term<'a>> = names.iter().map(|name| name.encode(self.0)).collect();
        Term::map_from_term_arrays(self.0, &keys, &terms).map_err(|_refused| A::Error::custom("it has too many names"))
    }
}

/// A name that an object has twice: readers that take the first, and those that take the last, would not agree on what it says.
fn twice(names: &[String]) -> Option<String> {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let [name, _same] = sorted.array_windows().find(|[one, next]| one == next)?;
    Some(shown(name))
}
