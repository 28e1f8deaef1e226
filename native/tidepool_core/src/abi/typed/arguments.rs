//! Arguments and results of calls of typed exports, whatever the ABI: as values, or as JSON.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::error::CallError;
use crate::base::limits::{Limit, Limits};
use crate::base::request::{Payload, Reply};
use crate::slice::yielding::yielded;
use crate::value::{self, Value};

/// The arguments that a payload has. Those of JSON are owned, and so is their result JSON.
///
/// # Errors
/// [`CallError::Arguments`] when it is no JSON.
pub(crate) async fn read(payload: &Payload) -> Result<Cow<'_, Value>, CallError> {
    match payload {
        Payload::Value(value) => Ok(Cow::Borrowed(value)),
        Payload::Exchange(_) => {
            Err(CallError::Arguments { path: String::new(), message: "a request of HTTP has no arguments".into() })
        }
        Payload::Bytes(json) if json.is_empty() => Ok(Cow::Owned(Value::List(Vec::new()))),
        Payload::Bytes(json) => match value::read(json, yielded).await {
            Ok(value) => Ok(Cow::Owned(value)),
            Err(error) => {
                let message = format!("the arguments have to be JSON, the array of them: {error}");
                Err(CallError::Arguments { path: String::new(), message })
            }
        },
    }
}

/// The list of so many arguments of a function.
///
/// # Errors
/// [`CallError::Arguments`] when they are no list, or another number.
pub(crate) fn of<'a>(arguments: &'a Value, count: usize, function: &str) -> Result<&'a [Value], CallError> {
    let wrong = |message| Err(CallError::Arguments { path: String::new(), message });
    match arguments {
        Value::List(values) if values.len() == count => Ok(values),
        Value::List(values) => wrong(format!("`{function}` takes {count} arguments, and was given {}", values.len())),
        other => wrong(format!("the arguments of `{function}` have to be a list, and are {}", other.kind())),
    }
}

/// The parameters of a function by their names.
#[derive(Default)]
pub(crate) struct Places {
    /// With underscores for dashes, as they may be told.
    places: HashMap<Box<str>, usize, RandomState>,
    longest: usize,
}

impl Places {
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let places: HashMap<Box<str>, _, _> =
            names.enumerate().map(|(place, name)| (name.replace('-', "_").into(), place)).collect();
        let longest = places.keys().map(|name| name.len()).max().unwrap_or_default();
        Places { places, longest }
    }

    fn find(&self, name: &str) -> Option<usize> {
        if name.len() > self.longest {
            return None;
        }
        let told = if name.contains('-') { Cow::Owned(name.replace('-', "_")) } else { Cow::Borrowed(name) };
        self.places.get(&*told).copied()
    }
}

/// The arguments of a function in the order of its parameters, which are `named`, from values by their names.
///
/// # Errors
/// [`CallError::Arguments`] when one is missing or there twice, or there is another.
pub(crate) fn by_name<'a>(
    fields: &'a [(Box<str>, Value)],
    places: &Places,
    named: &[&str],
    function: &str,
) -> Result<Vec<&'a Value>, CallError> {
    let wrong = |path: &str, message| CallError::Arguments { path: path.into(), message };
    let mut found: Vec<Option<&Value>> = vec![None; named.len()];
    // Of more than there are parameters one is unknown, or there twice.
    for (name, value) in fields.iter().take(named.len().saturating_add(1)) {
        let place = places.find(name);
        let Some((slot, param)) = place.and_then(|place| Some((found.get_mut(place)?, named.get(place)?))) else {
            let name = value::shown(name);
            return Err(wrong(&name, format!("`{function}` has no parameter `{name}`")));
        };
        if slot.replace(value).is_some() {
            return Err(wrong(param, format!("the argument `{param}` of `{function}` is there twice")));
        }
    }
    let found = found.into_iter().zip(named).map(|(value, param)| {
        value.ok_or_else(|| wrong(param, format!("the argument `{param}` of `{function}` is missing")))
    });
    found.collect()
}

/// Is a name of WIT meant by this one? Those have dashes, where most languages have underscores.
pub(crate) fn is_named(name: &str, wit: &str) -> bool {
    name.len() == wit.len()
        && name.bytes().zip(wit.bytes()).all(|(one, other)| one == other || (one == b'_' && other == b'-'))
}

/// The reply that has this result.
///
/// # Errors
/// [`CallError::Limit`] when it, or its JSON, is larger than a reply may be.
pub(crate) async fn reply(result: Value, is_json: bool, allowed: u64) -> Result<Reply, CallError> {
    if !is_json {
        if !Limits::fits(result.size(), allowed) {
            return Err(CallError::limit(Limit::Reply, allowed));
        }
        return Ok(Reply::Value(Box::new(result)));
    }
    let json = value::write(&result, usize::try_from(allowed).unwrap_or(usize::MAX), yielded).await;
    json.map(Reply::Bytes).ok_or_else(|| CallError::limit(Limit::Reply, allowed))
}
