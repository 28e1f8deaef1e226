//! From values to those of a component's types, and back.

mod pieces;
mod work;

use std::borrow::Cow;

use bytes::Bytes;
use wasmtime::component::types::{Field, Record, Variant};
use wasmtime::component::{ResourceType, Type, Val};

use crate::base::error::CallError;
use crate::value::{Value, shown as short};
pub(super) use pieces::{Pieces, has_more, shown_bytes, val_bytes};
use work::Conversion;
pub(super) use work::{Nothing, Resources, TooMuch};

/// Why a value is none of a type: where in it, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub(super) struct Unfit {
    path: String,
    message: String,
}

impl From<TooMuch> for Unfit {
    fn from(much: TooMuch) -> Self {
        Unfit::new(much.to_string())
    }
}

impl Unfit {
    pub(super) fn new(message: String) -> Self {
        Unfit { path: String::new(), message }
    }

    fn at(mut self, step: &dyn std::fmt::Display) -> Self {
        // A name may be as long as a payload, and a type may have many within one another.
        let step = short(&step.to_string());
        self.path = if self.path.is_empty() { step } else { format!("{step}.{}", self.path) };
        self
    }

    /// The error of a call whose argument of this name it is.
    pub(super) fn within(self, argument: &str) -> CallError {
        let Unfit { path, message } = self.at(&argument);
        CallError::Arguments { message: format!("argument {path}: {message}"), path }
    }
}

/// A value as one of this type.
///
/// # Errors
/// [`Unfit`] that says where it is none, and what it should be.
fn given(value: &Value, ty: &Type, work: &mut Conversion<'_>) -> Result<Val, Unfit> {
    work.tally.count(1)?;
    match ty {
        Type::Bool => match value {
            Value::Bool(value) => Ok(Val::Bool(*value)),
            _ => unfit("a truth value", value),
        },
        Type::S8 => integer(value, "s8").map(Val::S8),
        Type::U8 => integer(value, "u8").map(Val::U8),
        Type::S16 => integer(value, "s16").map(Val::S16),
        Type::U16 => integer(value, "u16").map(Val::U16),
        Type::S32 => integer(value, "s32").map(Val::S32),
        Type::U32 => integer(value, "u32").map(Val::U32),
        Type::S64 => integer(value, "s64").map(Val::S64),
        Type::U64 => integer(value, "u64").map(Val::U64),
        Type::Float32 => single(value).map(Val::Float32),
        Type::Float64 => float(value).map(Val::Float64),
        Type::Char => character(value).map(Val::Char),
        Type::String => {
            let text = text(value)?;
            work.tally.text(&text);
            Ok(Val::String(text.into_owned()))
        }
        Type::List(list) => elements(value, &list.ty(), work).map(Val::List),
        Type::FixedLengthList(list) => {
            let elements = elements(value, &list.ty(), work)?;
            if u32::try_from(elements.len()) == Ok(list.len()) {
                Ok(Val::FixedLengthList(elements))
            } else {
                Err(Unfit::new(format!("it has to have {} elements, and has {}", list.len(), elements.len())))
            }
        }
        Type::Map(map) => match value {
            Value::List(pairs) => {
                let mut pair = |pair: &Value| match pair {
                    Value::List(pair) | Value::Tuple(pair) => match &pair[..] {
                        [key, value] => Ok((given(key, &map.key(), work)?, given(value, &map.value(), work)?)),
                        _ => Err(Unfit::new("it has to be a key and a value".into())),
                    },
                    other => unfit("a key and a value", other),
                };
                let pairs = pairs.iter().enumerate().map(|(index, it)| pair(it).map_err(|error| error.at(&index)));
                pairs.collect::<Result<_, _>>().map(Val::Map)
            }
            Value::Record(fields) => {
                let pairs = fields.iter().map(|(name, value)| {
                    let key = given(&Value::Text(name.clone()), &map.key(), work);
                    Ok((key?, given(value, &map.value(), work).map_err(|error| error.at(name))?))
                });
                pairs.collect::<Result<_, _>>().map(Val::Map)
            }
            _ => unfit("a map", value),
        },
        Type::Record(record) => self::record(value, record, work),
        Type::Tuple(tuple) => match value {
            Value::List(values) | Value::Tuple(values) if values.len() == tuple.types().len() => {
                let values = values.iter().zip(tuple.types()).enumerate();
                let values =
                    values.map(|(index, (value, ty))| given(value, &ty, work).map_err(|error| error.at(&index)));
                values.collect::<Result<_, _>>().map(Val::Tuple)
            }
            Value::ByteList(bytes) if bytes.len() == tuple.types().len() => {
                let values = bytes.iter().map(|byte| Value::Int((*byte).into())).zip(tuple.types()).enumerate();
                let values =
                    values.map(|(index, (value, ty))| given(&value, &ty, work).map_err(|error| error.at(&index)));
                values.collect::<Result<_, _>>().map(Val::Tuple)
            }
            Value::List(values) | Value::Tuple(values) => {
                let (expected, found) = (tuple.types().len(), values.len());
                Err(Unfit::new(format!("it has to have {expected} elements, and has {found}")))
            }
            _ => unfit("a tuple", value),
        },
        Type::Variant(variant) => self::variant(value, variant, work),
        Type::Enum(names) => {
            let name = text(value)?;
            let (_place, found) =
                work.tally.find(&name, names.names())?.ok_or_else(|| no_case(&name, names.names()))?;
            work.tally.name(found)?;
            Ok(Val::Enum(found.to_owned()))
        }
        Type::Option(option) => match value {
            Value::Null | Value::Option(None) => Ok(Val::Option(None)),
            Value::Name(name) if &**name == "none" => Ok(Val::Option(None)),
            Value::Option(Some(value)) => Ok(Val::Option(Some(Box::new(given(value, &option.ty(), work)?)))),
            _ => {
                let within = case(value).filter(|(name, _value)| name == "some").and_then(|(_some, value)| value);
                let value = within.unwrap_or(value);
                Ok(Val::Option(Some(Box::new(given(value, &option.ty(), work)?))))
            }
        },
        Type::Result(result) => {
            let Some((name, value)) = case(value) else { return unfit("`ok` or `error`, with its value", value) };
            let mut payload = |ty: Option<Type>| payload(value, ty.as_ref(), &name, work);
            match &*name {
                "ok" => Ok(Val::Result(Ok(payload(result.ok())?))),
                "error" => Ok(Val::Result(Err(payload(result.err())?))),
                _ => Err(no_case(&name, ["ok", "error"].into_iter())),
            }
        }
        Type::Flags(flags) => {
            let mut told = vec![false; flags.names().len()];
            let mut names = Vec::new();
            for (given, is_set) in flag_names(value)? {
                let (place, found) =
                    work.tally.find(&given, flags.names())?.ok_or_else(|| no_case(&given, flags.names()))?;
                // By two spellings it could be told to be set, and not to be.
                if told.get_mut(place).is_none_or(|told| std::mem::replace(told, true)) {
                    return Err(Unfit::new(format!("the flag `{}` is there twice", short(found))));
                }
                if is_set {
                    work.tally.name(found)?;
                    names.push(found.to_owned());
                }
            }
            Ok(Val::Flags(names))
        }
        Type::Own(ty) => handle(value, ty, true, work),
        Type::Borrow(ty) => handle(value, ty, false, work),
        Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            Err(Unfit::new("no caller has a value of this type".into()))
        }
    }
}

fn handle(value: &Value, ty: &ResourceType, owned: bool, work: &mut Conversion<'_>) -> Result<Val, Unfit> {
    let Value::Handle(handle) = value else { return unfit("a resource", value) };
    work.resources.give(handle, ty, owned).map_err(Unfit::new)
}

fn unfit<T>(expected: &str, value: &Value) -> Result<T, Unfit> {
    Err(Unfit::new(format!("it has to be {expected}, and is {}", value.kind())))
}

fn no_case<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Unfit {
    let names: Vec<String> = names.take(20).map(short).collect();
    Unfit::new(format!("it has no case {:?}: there are {}", short(name), names.join(", ")))
}

fn integer<T: TryFrom<i128>>(value: &Value, ty: &str) -> Result<T, Unfit> {
    let Some(integer) = value.as_integer() else { return unfit("an integer", value) };
    T::try_from(integer).map_err(|_| Unfit::new(format!("{integer} does not fit into a {ty}")))
}

fn float(value: &Value) -> Result<f64, Unfit> {
    value.as_float().map_or_else(|| unfit("a number", value), Ok)
}

fn single(value: &Value) -> Result<f32, Unfit> {
    let float = float(value)?;
    Value::narrowed(float).ok_or_else(|| Unfit::new(format!("{float:e} does not fit into an f32")))
}

/// A text of one, or its number, as Elixir has `?a`.
fn character(value: &Value) -> Result<char, Unfit> {
    if let Some(number) = value.as_integer() {
        let found = u32::try_from(number).ok().and_then(char::from_u32);
        return found.ok_or_else(|| Unfit::new(format!("{number} is the number of no character")));
    }
    let text = text(value)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Unfit::new("it has to be a text of one character".into())),
    }
}

fn text(value: &Value) -> Result<Cow<'_, str>, Unfit> {
    match value {
        Value::Text(text) | Value::Name(text) => Ok(Cow::Borrowed(text)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(Unfit::new("it has to be a text, and is no UTF-8".into())),
        },
        _ => unfit("a text", value),
    }
}

fn elements(value: &Value, ty: &Type, work: &mut Conversion<'_>) -> Result<Vec<Val>, Unfit> {
    match value {
        Value::List(values) | Value::Tuple(values) => {
            let values = values.iter().enumerate();
            values.map(|(index, value)| given(value, ty, work).map_err(|error| error.at(&index))).collect()
        }
        Value::Bytes(bytes) | Value::ByteList(bytes) if *ty == Type::U8 => {
            work.tally.bytes(bytes.len())?;
            Ok(bytes.iter().map(|byte| Val::U8(*byte)).collect())
        }
        Value::ByteList(bytes) => {
            let values = bytes.iter().enumerate();
            values
                .map(|(index, byte)| given(&Value::Int((*byte).into()), ty, work).map_err(|error| error.at(&index)))
                .collect()
        }
        _ => unfit("a list", value),
    }
}

fn record(value: &Value, record: &Record, work: &mut Conversion<'_>) -> Result<Val, Unfit> {
    let (placed, fault) = placed(value, record, work)?;
    let fields = record.fields().zip(placed);
    let fields = fields.map(|(field, value)| Ok((field.name.to_owned(), self::field(value, &field, work)?)));
    let fields = fields.collect::<Result<_, Unfit>>()?;
    fault.map_or(Ok(Val::Record(fields)), Err)
}

/// The values of a record's fields, in the order of its type, and what else is wrong with it.
fn placed<'v>(value: &'v Value, record: &Record, work: &mut Conversion<'_>) -> Result<Placed<'v>, Unfit> {
    let Value::Record(fields) = value else { return unfit("a record", value) };
    let names: Vec<&str> = record.fields().map(|field| field.name).collect();
    let mut placing = Placing::of(names.len());
    for (at, (name, value)) in fields.iter().enumerate() {
        // Most are given in the order that they have.
        let place = match names.get(at) {
            Some(there) if work.tally.is_name(name, there)? => Some(at),
            _ => work.tally.find(name, names.iter().copied())?.map(|(place, _name)| place),
        };
        placing.put(place, name, value);
    }
    Ok(placing.end())
}

/// What [`placed`] returns.
type Placed<'v> = (Vec<Option<&'v Value>>, Option<Unfit>);

/// Values of a record's fields, as far as they are found.
struct Placing<'v> {
    found: Vec<Option<&'v Value>>,
    unknown: Option<&'v str>,
    twice: bool,
}

impl<'v> Placing<'v> {
    fn of(fields: usize) -> Self {
        Placing { found: vec![None; fields], unknown: None, twice: false }
    }

    fn put(&mut self, place: Option<usize>, name: &'v str, value: &'v Value) {
        match place.and_then(|place| self.found.get_mut(place)) {
            Some(place) => self.twice |= place.replace(value).is_some(),
            None => self.unknown = self.unknown.or(Some(name)),
        }
    }

    fn end(self) -> Placed<'v> {
        let fault = match self.unknown {
            Some(name) => Some(format!("there is no field `{}`", short(name))),
            None => self.twice.then(|| "a field is there twice".to_owned()),
        };
        (self.found, fault.map(Unfit::new))
    }
}

fn field(value: Option<&Value>, field: &Field<'_>, work: &mut Conversion<'_>) -> Result<Val, Unfit> {
    work.tally.name(field.name)?;
    match (value, &field.ty) {
        (Some(value), ty) => given(value, ty, work).map_err(|error| error.at(&field.name)),
        // What may be missing is left out.
        (None, Type::Option(_)) => {
            work.tally.count(1)?;
            Ok(Val::Option(None))
        }
        (None, _) => Err(Unfit::new(format!("the field `{}` is missing", short(field.name)))),
    }
}

/// A name, with its value if it has one: of an atom, a text, a tuple of two, or an object of one member.
pub(super) fn case(value: &Value) -> Option<(Cow<'_, str>, Option<&Value>)> {
    match value {
        Value::Name(name) | Value::Text(name) => Some((Cow::Borrowed(name), None)),
        Value::Bytes(name) => Some((Cow::Borrowed(std::str::from_utf8(name).ok()?), None)),
        Value::Case(name, value) => Some((Cow::Borrowed(name), Some(value))),
        Value::Tuple(elements) => match &elements[..] {
            [name, value] => match text(name) {
                Ok(name) => Some((name, Some(value))),
                Err(_) => None,
            },
            _ => None,
        },
        Value::Record(fields) => match &fields[..] {
            [(name, value)] => Some((Cow::Borrowed(name), Some(value))),
            _ => None,
        },
        _ => None,
    }
}

fn variant(value: &Value, variant: &Variant, work: &mut Conversion<'_>) -> Result<Val, Unfit> {
    let Some((name, value)) = case(value) else { return unfit("a case, with its value if it has one", value) };
    let found = work.tally.case(&name, variant.cases())?;
    let Some(found) = found else { return Err(no_case(&name, variant.cases().map(|case| case.name))) };
    work.tally.name(found.name)?;
    Ok(Val::Variant(found.name.to_owned(), payload(value, found.ty.as_ref(), found.name, work)?))
}

fn payload(
    value: Option<&Value>,
    ty: Option<&Type>,
    name: &str,
    work: &mut Conversion<'_>,
) -> Result<Option<Box<Val>>, Unfit> {
    match (ty, value) {
        (None, None | Some(Value::Null)) => Ok(None),
        (None, Some(_)) => Err(Unfit::new(format!("the case `{}` has no value", short(name)))),
        (Some(ty), Some(value)) => {
            given(value, ty, work).map(|value| Some(Box::new(value))).map_err(|error| error.at(&name))
        }
        (Some(_), None) => Err(Unfit::new(format!("the case `{}` needs a value", short(name)))),
    }
}

/// The names that are told, and which are set: of a list of those, or of truth values by name.
fn flag_names(value: &Value) -> Result<Vec<(Cow<'_, str>, bool)>, Unfit> {
    match value {
        Value::List(names) => names.iter().map(|name| Ok((text(name)?, true))).collect(),
        Value::Record(flags) => {
            let told = flags.iter().map(|(name, set)| match set {
                Value::Bool(set) => Ok((Cow::Borrowed(&**name), *set)),
                other => unfit("a truth value", other),
            });
            told.collect()
        }
        Value::Flags(flags) => Ok(flags.iter().map(|(name, set)| (Cow::Borrowed(&**name), *set)).collect()),
        _ => unfit("a list of names, or truth values by name", value),
    }
}

/// A value of this type, as callers see it; only to where it is too much, which [`over`](work::Tally::over) tells.
fn shown(val: &Val, ty: &Type, work: &mut Conversion<'_>) -> Value {
    if work.tally.count(1).is_err() {
        return Value::Null;
    }
    match (val, ty) {
        (Val::Bool(value), _) => Value::Bool(*value),
        (Val::S8(integer), _) => Value::Int((*integer).into()),
        (Val::U8(integer), _) => Value::Int((*integer).into()),
        (Val::S16(integer), _) => Value::Int((*integer).into()),
        (Val::U16(integer), _) => Value::Int((*integer).into()),
        (Val::S32(integer), _) => Value::Int((*integer).into()),
        (Val::U32(integer), _) => Value::Int((*integer).into()),
        (Val::S64(integer), _) => Value::Int((*integer).into()),
        (Val::U64(integer), _) => Value::Int((*integer).into()),
        (Val::Float32(float), _) => Value::Float(Value::widened(*float)),
        (Val::Float64(float), _) => Value::Float(*float),
        (Val::Char(char), _) => Value::Text(char.to_string().into()),
        (Val::String(text), _) => Value::Text(text.as_str().into()),
        (Val::List(bytes), Type::List(list)) if list.ty() == Type::U8 => {
            let byte = |val: &Val| if let Val::U8(byte) = val { *byte } else { 0 };
            Value::Bytes(Bytes::from_iter(bytes.iter().map(byte)))
        }
        (Val::List(values), Type::List(list)) => all(values, &list.ty(), work),
        (Val::FixedLengthList(values), Type::FixedLengthList(list)) => all(values, &list.ty(), work),
        (Val::Map(pairs), Type::Map(map)) => {
            let pair = |(key, value): &(Val, Val)| {
                Value::Tuple(vec![shown(key, &map.key(), work), shown(value, &map.value(), work)])
            };
            Value::List(pairs.iter().map(pair).collect())
        }
        (Val::Record(values), Type::Record(record)) => {
            let fields = values.iter().zip(record.fields());
            Value::Record(
                fields.map(|((name, val), field)| (name.as_str().into(), shown(val, &field.ty, work))).collect(),
            )
        }
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            Value::Tuple(values.iter().zip(tuple.types()).map(|(val, ty)| shown(val, &ty, work)).collect())
        }
        (Val::Variant(name, payload), Type::Variant(variant)) => {
            let Ok(case) = work.tally.case(name, variant.cases()) else { return Value::Null };
            let ty = case.and_then(|case| case.ty);
            named(name, payload.as_deref(), ty.as_ref(), work)
        }
        (Val::Enum(name), _) => Value::Name(name.as_str().into()),
        (Val::Option(value), Type::Option(option)) => {
            Value::Option(value.as_ref().map(|value| Box::new(shown(value, &option.ty(), work))))
        }
        (Val::Result(Ok(value)), Type::Result(result)) => named("ok", value.as_deref(), result.ok().as_ref(), work),
        (Val::Result(Err(value)), Type::Result(result)) => {
            named("error", value.as_deref(), result.err().as_ref(), work)
        }
        (Val::Flags(set), Type::Flags(flags)) => {
            let named = flags.names().map(|name| {
                work.tally.name(name)?;
                Ok((name.into(), set.iter().any(|set| set == name)))
            });
            named.collect::<Result<_, TooMuch>>().map_or(Value::Null, Value::Flags)
        }
        (Val::Resource(resource), Type::Own(ty) | Type::Borrow(ty)) => work.resources.show(*resource, ty),
        // A value is of its type.
        _ => Value::Null,
    }
}

fn all(values: &[Val], ty: &Type, work: &mut Conversion<'_>) -> Value {
    Value::List(values.iter().map(|val| shown(val, ty, work)).collect())
}

fn named(name: &str, payload: Option<&Val>, ty: Option<&Type>, work: &mut Conversion<'_>) -> Value {
    match (payload, ty) {
        (Some(payload), Some(ty)) => Value::Case(name.into(), Box::new(shown(payload, ty, work))),
        _ => Value::Name(name.into()),
    }
}
