//! Members of what a node answers. A node of another version may leave out some: that is a `-`, and no failure.

use serde_json::Value;

use crate::output::{Table, age};

/// A member as a text of one line.
pub(crate) fn text(value: &Value, member: &str) -> String {
    shown(value.get(member).unwrap_or(&Value::Null))
}

/// A member that is a number.
pub(crate) fn number(value: &Value, member: &str) -> Option<u64> {
    value.get(member).and_then(Value::as_u64)
}

/// How long ago a member was, which is seconds since 1970.
pub(crate) fn ago(value: &Value, member: &str) -> String {
    number(value, member).map_or_else(|| "-".to_owned(), |at| format!("{} ago", age(at)))
}

/// The elements of a member that is a list.
pub(crate) fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A value as a text of one line.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// All members of an object, each on a line; long lists and objects are shortened.
pub(crate) fn all(value: &Value) -> String {
    let mut table = Table::bare();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => table.whole([name.clone(), text.clone()]),
            value => table.row([name.clone(), shown(value)]),
        }
    }
    table.text()
}
