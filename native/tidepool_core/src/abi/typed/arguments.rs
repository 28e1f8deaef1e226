//! Arguments and results of calls of typed exports, whatever the ABI: as values, or as JSON.

use std::borrow::Cow;

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

/// The arguments of a function in the order of its parameters, from values by their names.
///
/// # Errors
/// [`CallError::Arguments`] when one is missing or there twice, or there is another.
pub(crate) fn by_name<'a, 'b>(
    fields: &'a [(Box<str>, Value)],
    params: impl Iterator<Item = &'b str> + Clone,
    function: &str,
) -> Result<Vec<&'a Value>, CallError> {
    let wrong = |path: &str, message| CallError::Arguments { path: path.into(), message };
    if let Some((name, _value)) =
        fields.iter().find(|(name, _value)| !params.clone().any(|param| is_named(name, param)))
    {
        return Err(wrong(name, format!("`{function}` has no parameter `{name}`")));
    }
    let twice = |param: &&str| fields.iter().filter(|(name, _value)| is_named(name, param)).count() > 1;
    if let Some(param) = params.clone().find(twice) {
        return Err(wrong(param, format!("the argument `{param}` of `{function}` is there twice")));
    }
    let found = params.map(|param| {
        let found = fields.iter().find(|(name, _value)| is_named(name, param));
        found
            .map(|(_name, value)| value)
            .ok_or_else(|| wrong(param, format!("the argument `{param}` of `{function}` is missing")))
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
