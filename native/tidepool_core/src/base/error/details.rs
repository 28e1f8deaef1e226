//! What is said of an error beside its reason and its message.

use std::borrow::Cow;

use super::{CallError, CompileError, import_name};
use crate::base::trap::Frame;
use crate::value::Value;

/// A value beside an error's reason and message.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail<'a> {
    /// A count, or a size.
    Count(u64),
    /// An exit code.
    Code(i32),
    /// A text.
    Text(Cow<'a, str>),
    /// Several.
    Texts(&'a [String]),
    /// A backtrace.
    Frames(&'a [Frame]),
    /// A value, and whether it is for who speaks JSON.
    Value(&'a Value, bool),
}

/// Values beside an error's reason and message, by their names.
pub type Details<'a> = Vec<(&'static str, Detail<'a>)>;

impl CompileError {
    /// What the message is about.
    #[must_use]
    pub fn details(&self) -> Details<'_> {
        let text = |text| Detail::Text(Cow::Borrowed(text));
        match self {
            CompileError::UnknownAbi { exports }
            | CompileError::NothingToCall { exports }
            | CompileError::NotServed { exports, .. }
            | CompileError::Uncallable { exports, .. }
            | CompileError::OtherAbi { exports, .. } => {
                vec![("exports", Detail::Texts(exports))]
            }
            CompileError::MissingExport { name, .. } => vec![("export", text(name))],
            CompileError::ExportType { name, expected, found } => {
                vec![("export", text(name)), ("expected", text(expected)), ("found", text(found))]
            }
            CompileError::MissingImport { module, name } => vec![("import", import(module, name))],
            CompileError::ImportType { module, name, expected, found } => {
                vec![("import", import(module, name)), ("expected", text(expected)), ("found", text(found))]
            }
            _ => Vec::new(),
        }
    }
}

impl CallError {
    /// What the message is about.
    #[must_use]
    pub fn details(&self) -> Details<'_> {
        match self {
            CallError::Guest { exit_code, .. } => {
                exit_code.iter().map(|code| ("exit_code", Detail::Code(*code))).collect()
            }
            CallError::Trap { frames, console, .. } => {
                vec![("backtrace", Detail::Frames(frames)), ("console", Detail::Texts(console))]
            }
            CallError::Limit { limit, allowed, frames, console } => {
                let mut details =
                    vec![("allowed", Detail::Count(*allowed)), ("unit", Detail::Text(limit.unit().into()))];
                if !frames.is_empty() {
                    details.push(("backtrace", Detail::Frames(frames)));
                }
                if !console.is_empty() {
                    details.push(("console", Detail::Texts(console)));
                }
                details
            }
            CallError::Failed { value, is_json } => vec![("value", Detail::Value(value, *is_json))],
            CallError::NoExport { exports, .. } | CallError::SharedName { exports, .. } => {
                vec![("exports", Detail::Texts(exports))]
            }
            CallError::Arguments { path, .. } if !path.is_empty() => vec![("path", Detail::Text(path.into()))],
            CallError::Quota { namespace, allowed, .. } => {
                vec![("namespace", Detail::Text(namespace.into())), ("allowed", Detail::Count(*allowed))]
            }
            _ => Vec::new(),
        }
    }
}

fn import<'a>(module: &str, name: &str) -> Detail<'a> {
    Detail::Text(Cow::Owned(import_name(module, name)))
}
