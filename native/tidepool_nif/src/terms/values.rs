//! Values of typed exports, from terms and to them.
//!
//! As arguments: integers, floats, booleans and binaries are themselves; a list is a list; a tuple a tuple, or a case with a value
//! where an atom comes first; a map a record, by atoms or strings; an atom a name, `nil` nothing; a resource is one.
//!
//! As results: a record is a map, what may be there `:none` or `{:some, value}`, a case its name, or `{name, value}`; flags are a
//! map of booleans. A name is an atom if the VM has it, else a string: uploads make no atoms.

use std::borrow::Cow;

use rustler::types::tuple::get_tuple;
use rustler::{Atom, Binary, Encoder, Env, MapIterator, Term, TermType};
use tidepool_core::CallError;
use tidepool_core::value::{MAX_COUNT, MAX_DEPTH, Value, place};

use crate::terms::atoms;
use crate::terms::bytes::{binary, copy};
use crate::terms::message::message;
use crate::terms::resource;

/// From this size on the bytes of a value are handed over instead of copied. Where they are handed over their memory is lent again
/// when the process has collected its garbage, and not at once: new pages for each call cost more than a copy.
const HANDED_BYTES: usize = 256 << 10;

/// The value that a term says.
///
/// # Errors
/// [`CallError::Arguments`] that says where there is none.
pub(crate) fn value(term: Term<'_>) -> Result<Value, CallError> {
    read(term).map_err(|fault| fault.told(""))
}

/// The same of the arguments of a call.
///
/// # Errors
/// As [`value`].
pub(crate) fn arguments(term: Term<'_>) -> Result<Value, CallError> {
    read(term).map_err(|mut fault| {
        // They have no names here, and are counted from 1.
        if let (true, Some(argument)) = (term.is_list(), fault.path.first_mut()) {
            *argument = argument.parse().map_or_else(|_| argument.clone(), |index: usize| place(index));
        }
        fault.told("argument ")
    })
}

fn read(term: Term<'_>) -> Result<Value, Fault> {
    Reader { count: 0 }.value(term, 0).map_err(|mut fault| {
        fault.path.reverse();
        fault
    })
}

/// Why a term is no value, and where in the whole: the steps there, while it is read the last one first.
struct Fault {
    path: Vec<String>,
    message: Cow<'static, str>,
}

impl Fault {
    fn told(self, what: &str) -> CallError {
        let Fault { path, message } = self;
        let path = path.join(".");
        let message = if path.is_empty() { message.into() } else { format!("{what}{path}: {message}") };
        CallError::Arguments { path, message }
    }
}

impl From<&'static str> for Fault {
    fn from(message: &'static str) -> Self {
        Fault { path: Vec::new(), message: message.into() }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault { path: Vec::new(), message: message.into() }
    }
}

impl Fault {
    fn within(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }
}

struct Reader {
    /// The values that were read.
    count: usize,
}

impl Reader {
    fn value(&mut self, term: Term<'_>, depth: usize) -> Result<Value, Fault> {
        self.count += 1;
        if self.count > MAX_COUNT {
            return Err(format!("there are more than {MAX_COUNT} values").into());
        }
        if depth > MAX_DEPTH {
            return Err(format!("they are nested deeper than {MAX_DEPTH} levels").into());
        }
        match term.get_type() {
            TermType::Atom => atom(term),
            TermType::Integer => integer(term),
            TermType::Float => term.decode().map(Value::Float).map_err(|_| "it is no float".into()),
            TermType::Binary => match Binary::from_term(term) {
                Ok(binary) => Ok(Value::Bytes(message(binary))),
                Err(_) => Err("it is a bitstring, and no binary".into()),
            },
            TermType::List => self.list(term, depth).map(Value::List),
            TermType::Tuple => {
                let elements = get_tuple(term).map_err(|_| "it is no tuple")?;
                let elements = elements.into_iter().enumerate();
                let values = elements.map(|(index, term)| self.element(index, term, depth));
                values.collect::<Result<_, _>>().map(Value::Tuple)
            }
            TermType::Map => self.record(term, depth),
            _ => Err("it has to be a number, a boolean, a binary, an atom, a list, a tuple or a map".into()),
        }
    }

    /// Cell by cell: a list may be too long to be measured first.
    fn list(&mut self, term: Term<'_>, depth: usize) -> Result<Vec<Value>, Fault> {
        let (mut values, mut rest) = (Vec::new(), term);
        while let Ok((head, tail)) = rest.list_get_cell() {
            values.push(self.element(values.len(), head, depth)?);
            rest = tail;
        }
        if rest.is_empty_list() { Ok(values) } else { Err("it is no proper list".into()) }
    }

    fn element(&mut self, index: usize, term: Term<'_>, depth: usize) -> Result<Value, Fault> {
        self.value(term, depth + 1).map_err(|fault| fault.within(index.to_string()))
    }

    fn record(&mut self, term: Term<'_>, depth: usize) -> Result<Value, Fault> {
        if let Some(handle) = resource::handle(term) {
            return handle.map(Value::Handle).map_err(Fault::from);
        }
        let fields = MapIterator::new(term).ok_or("it is no map")?;
        let mut record: Vec<(Box<str>, Value)> = Vec::new();
        for (key, term) in fields {
            let name = match key.get_type() {
                TermType::Atom => key.atom_to_string().map_err(|_| "a key is no name")?,
                TermType::Binary => key.decode::<String>().map_err(|_| "a key is no UTF-8")?,
                _ => return Err("the keys of a map have to be atoms or strings".into()),
            };
            match self.value(term, depth + 1) {
                Ok(value) => record.push((name.into(), value)),
                Err(fault) => return Err(fault.within(name)),
            }
        }
        record.sort_by(|(one, _), (other, _)| one.cmp(other));
        match record.array_windows().find(|[(one, _), (next, _)]| one == next) {
            Some([(name, _), _]) => Err(format!("the key `{name}` is there as an atom and as a string").into()),
            None => Ok(Value::Record(record)),
        }
    }
}

fn atom(term: Term<'_>) -> Result<Value, Fault> {
    let name = term.atom_to_string().map_err(|_| "it is no name")?;
    Ok(match &*name {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "nil" => Value::Null,
        _ => Value::Name(name.into()),
    })
}

fn integer(term: Term<'_>) -> Result<Value, Fault> {
    let signed = term.decode::<i64>().map(i128::from);
    let integer = signed.or_else(|_| term.decode::<u64>().map(i128::from));
    integer.map(Value::Int).map_err(|_| "it does not fit into 64 bits".into())
}

/// A value that nobody else has as a term: a long text is handed over, too.
pub(crate) fn into_term(env: Env<'_>, value: Value) -> Term<'_> {
    match value {
        Value::Text(text) if text.len() >= HANDED_BYTES => binary(env, text.into_boxed_bytes().into()),
        value => term(env, &value),
    }
}

/// A value as a term.
pub(crate) fn term<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    match value {
        Value::Null => atoms::nil().encode(env),
        Value::Bool(value) => value.encode(env),
        Value::Int(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
            (Ok(integer), _) => integer.encode(env),
            (_, Ok(integer)) => integer.encode(env),
            // No type of a guest's has more than 64 bits.
            _ => atoms::nil().encode(env),
        },
        Value::Float(float) if float.is_nan() => atoms::nan().encode(env),
        Value::Float(f64::INFINITY) => atoms::infinity().encode(env),
        Value::Float(f64::NEG_INFINITY) => atoms::neg_infinity().encode(env),
        Value::Float(float) | Value::Rounded(float) => float.encode(env),
        Value::Text(text) => copy(env, text.as_bytes()),
        Value::Bytes(bytes) if bytes.len() < HANDED_BYTES => copy(env, bytes),
        Value::Bytes(bytes) => binary(env, bytes.clone()),
        Value::ByteList(bytes) => numbers(env, bytes),
        Value::Name(name) => self::name(env, name),
        Value::Case(name, value) => (self::name(env, name), term(env, value)).encode(env),
        Value::Option(None) => atoms::none().encode(env),
        Value::Option(Some(value)) => (atoms::some(), term(env, value)).encode(env),
        Value::List(values) => values.iter().map(|value| term(env, value)).collect::<Vec<_>>().encode(env),
        Value::Tuple(values) => {
            let values: Vec<_> = values.iter().map(|value| term(env, value)).collect();
            rustler::types::tuple::make_tuple(env, &values)
        }
        Value::Handle(handle) => resource::term(env, handle),
        Value::Record(fields) => map(env, fields.iter().map(|(name, value)| (&**name, term(env, value)))),
        Value::Flags(flags) => map(env, flags.iter().map(|(name, set)| (&**name, set.encode(env)))),
    }
}

fn numbers<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    bytes.iter().map(|byte| u32::from(*byte)).collect::<Vec<_>>().encode(env)
}

fn map<'a, 'b>(env: Env<'a>, pairs: impl Iterator<Item = (&'b str, Term<'a>)>) -> Term<'a> {
    pairs.fold(Term::map_new(env), |map, (name, value)| map.map_put(self::name(env, name), value).unwrap_or(map))
}

/// An atom, if there is one of this name.
fn name<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    match Atom::existing_from_utf8_bytes(env, name.as_bytes()) {
        Ok(atom) => atom.encode(env),
        Err(_) => copy(env, name.as_bytes()),
    }
}

/// A value as a term that is JSON: as the core writes it.
pub(crate) fn json<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    let text = |text: &str| copy(env, text.as_bytes());
    match value {
        Value::Null | Value::Option(None) | Value::Handle(_) => atoms::nil().encode(env),
        Value::Float(float) if float.is_nan() => text("NaN"),
        Value::Float(f64::INFINITY) => text("Infinity"),
        Value::Float(f64::NEG_INFINITY) => text("-Infinity"),
        Value::Bytes(bytes) | Value::ByteList(bytes) => numbers(env, bytes),
        Value::Name(name) => text(name),
        Value::Case(name, value) => members(env, [(&**name, json(env, value))].into_iter()),
        Value::Option(Some(value)) if value.needs_some() => members(env, [("some", json(env, value))].into_iter()),
        Value::Option(Some(value)) => json(env, value),
        Value::List(values) | Value::Tuple(values) => {
            values.iter().map(|value| json(env, value)).collect::<Vec<_>>().encode(env)
        }
        Value::Record(fields) => members(env, fields.iter().map(|(name, value)| (&**name, json(env, value)))),
        Value::Flags(flags) => {
            let set = flags.iter().filter(|(_name, set)| *set).map(|(name, _set)| text(name));
            set.collect::<Vec<_>>().encode(env)
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Rounded(_) | Value::Text(_) => term(env, value),
    }
}

fn members<'a, 'b>(env: Env<'a>, members: impl Iterator<Item = (&'b str, Term<'a>)>) -> Term<'a> {
    let put = |map: Term<'a>, (name, value): (&str, Term<'a>)| map.map_put(copy(env, name.as_bytes()), value);
    members.fold(Term::map_new(env), |map, member| put(map, member).unwrap_or(map))
}
