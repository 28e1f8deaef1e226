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

/// The reply that has this result.
///
/// # Errors
/// [`CallError::Limit`] when its JSON is larger than a reply may be.
pub(crate) async fn reply(result: Value, is_json: bool, allowed: u64) -> Result<Reply, CallError> {
    if !is_json {
        return Ok(Reply::Value(Box::new(result)));
    }
    let json = value::write(&result, yielded).await;
    if Limits::fits(json.len(), allowed) {
        Ok(Reply::Bytes(json))
    } else {
        Err(CallError::limit(Limit::Reply, allowed))
    }
}
