//! Why a module can't be deployed, and why a call failed: each by a reason of the table of all errors, with its details.

use std::borrow::Cow;

use tidepool_errors::Reason;

#[cfg(doc)]
use crate::base::console::{TAIL_BYTES, TAIL_LINES};
use crate::base::limits::{Limit, Quota};
use crate::base::trap::{Frame, TrapKind};
use crate::value::Value;

/// Why a module was refused. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The bytes don't start like a WebAssembly module.
    #[error("this is not a WebAssembly module: it does not start with the bytes \\0asm")]
    NotWasm,
    /// A component, as no tool writes them today.
    #[error(
        "this is a WebAssembly component in a binary format of another version than this host reads: build it anew"
    )]
    Component,
    /// The module is malformed or uses a feature that isn't enabled.
    #[error("the module is not valid: {message}")]
    Invalid {
        /// What the validator said, with the offset.
        message: String,
    },
    /// The module speaks none of the ABIs.
    #[error(
        "it speaks no ABI that can be called: export `__guest_call` (waPC), `_start` (a WASI program, or one of processes that imports `lunatic::…`), or functions of your own"
    )]
    UnknownAbi {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// The module lacks an export which its ABI needs.
    #[error("the module has to export {kind} `{name}`")]
    MissingExport {
        /// The export's name.
        name: String,
        /// What it has to be: a function, a memory.
        kind: &'static str,
    },
    /// An export which its ABI needs has another type.
    #[error("the export `{name}` is {found}, but has to be {expected}")]
    ExportType {
        /// The export's name.
        name: String,
        /// The type that the ABI gives it.
        expected: String,
        /// The type that it has.
        found: String,
    },
    /// The module imports something that the host does not offer.
    #[error("the module imports `{module}.{name}`, which this host does not offer{}", instead(module, name))]
    MissingImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// The module imports something that the host offers with another type.
    #[error("the module imports `{module}.{name}` as {found}, but the host offers {expected}")]
    ImportType {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The type that the host offers.
        expected: String,
        /// The type that the module asks for.
        found: String,
    },
    /// The module needs more than its limits, or the engine's, allow.
    #[error("the module can't fit: {message}")]
    TooDemanding {
        /// What it needs, and what there is.
        message: String,
    },
    /// Its instances can't be actors.
    #[error("the module can't be an actor: {message}")]
    NoActor {
        /// What an image of it would lack, and what to do.
        message: String,
    },
    /// The configuration does not suit the module.
    #[error("{message}")]
    Config {
        /// What does not suit, and what would.
        message: String,
    },
    /// The deployer is gone.
    #[error("nobody waits for the module any more")]
    Unwanted,
    /// The compiler itself failed; the module may be fine.
    #[error("internal error: {message}")]
    Internal {
        /// What happened.
        message: String,
    },
}

/// Why a call failed. The instance is gone, except after [`CallError::Guest`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The guest itself said that the call failed.
    #[error("{message}")]
    Guest {
        /// The guest's text, or the last lines of a program's stderr.
        message: String,
        /// A program's exit code, where it was a program.
        exit_code: Option<i32>,
    },
    /// A typed export has returned the error of its result.
    #[error("the guest returned an error{}", said(value))]
    Failed {
        /// The error's value.
        value: Box<Value>,
        /// Whether its caller speaks JSON.
        is_json: bool,
    },
    /// The guest trapped.
    #[error("{message}")]
    Trap {
        /// The kind of fault.
        kind: TrapKind,
        /// What the engine or the host says of it.
        message: String,
        /// Where it happened, innermost first.
        frames: Vec<Frame>,
        /// The last lines that the guest printed in this call, within [`TAIL_LINES`] and [`TAIL_BYTES`].
        console: Vec<String>,
    },
    /// The call ran into a limit of its function.
    #[error("the {} limit of {allowed} {} was exceeded{}", limit.name(), limit.unit(), limit.advice())]
    Limit {
        /// Which one.
        limit: Limit,
        /// Its figure, in its unit.
        allowed: u64,
        /// Where the guest was, innermost first, when that is known.
        frames: Vec<Frame>,
        /// The last lines that the guest printed in this call, as for a trap.
        console: Vec<String>,
    },
    /// The call was not done in time.
    #[error("the call was not done within its time limit")]
    Timeout,
    /// There was no room for another instance, nor for waiting for one.
    #[error("{message}")]
    Overloaded {
        /// What was full.
        message: String,
    },
    /// The functions of its namespace have together what they may have.
    #[error("{message}")]
    Quota {
        /// Which namespace.
        namespace: String,
        /// Of what.
        quota: Quota,
        /// How much that is.
        allowed: u64,
        /// The same as a sentence.
        message: String,
    },
    /// It can't be started as a process: its ABI has calls alone.
    #[error("a {abi} function has no entry that a process could run: call it, by /call or Tidepool.call")]
    NoProgram {
        /// The ABI's name.
        abi: &'static str,
    },
    /// A program can't be started as it was asked for.
    #[error("{message}")]
    InvalidOption {
        /// What is wrong, and with what.
        message: String,
    },
    /// A function of typed exports has none of this name.
    #[error("the function exports nothing that is called `{name}`")]
    NoExport {
        /// What was asked for.
        name: String,
        /// What can be called.
        exports: Vec<String>,
    },
    /// Arguments of a typed export are of other types than it takes.
    #[error("{message}")]
    Arguments {
        /// Which one, and where in it: indices and names, with dots between. Empty for all of them.
        path: String,
        /// What it is, and what it should be.
        message: String,
    },
    /// An image can't be made, or no instance can begin with it.
    #[error("{message}")]
    Image {
        /// Why not.
        message: String,
    },
    /// The [`OwnedInstance`](crate::OwnedInstance) serves another call: wait until that is over.
    #[error("the instance serves another call")]
    InstanceBusy,
    /// The [`OwnedInstance`](crate::OwnedInstance) was stopped in an earlier call: get another.
    #[error("the instance was stopped in a call: get another")]
    InstanceSpent,
    /// Tidepool itself failed; the guest may be innocent.
    #[error("internal error: {message}")]
    Internal {
        /// What happened.
        message: String,
    },
}

/// What a value says, if it is a text.
fn said(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Name(text) => format!(": {text}"),
        _ => String::new(),
    }
}

/// What to do about an import that compilers add by themselves.
fn instead(module: &str, name: &str) -> &'static str {
    match (module, name) {
        ("env", "abort") => {
            ": compile AssemblyScript with `--use abort=FILE/abort`, for a FILE that exports an `abort`"
        }
        ("wapc", _) => ": it is one of waPC's, and the module is of another interface; it can have one of both",
        _ => "",
    }
}

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
    /// The reason in the table of errors.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            CompileError::NotWasm => Reason::NotWasm,
            CompileError::Component => Reason::Component,
            CompileError::Invalid { .. } => Reason::InvalidModule,
            CompileError::UnknownAbi { .. } => Reason::UnknownAbi,
            CompileError::MissingExport { .. } => Reason::MissingExport,
            CompileError::ExportType { .. } => Reason::ExportType,
            CompileError::MissingImport { .. } => Reason::MissingImport,
            CompileError::ImportType { .. } => Reason::ImportType,
            CompileError::TooDemanding { .. } => Reason::TooDemanding,
            CompileError::NoActor { .. } => Reason::NoActor,
            CompileError::Config { .. } => Reason::InvalidConfig,
            CompileError::Unwanted | CompileError::Internal { .. } => Reason::Internal,
        }
    }

    /// What the message is about.
    #[must_use]
    pub fn details(&self) -> Details<'_> {
        let text = |text| Detail::Text(Cow::Borrowed(text));
        match self {
            CompileError::UnknownAbi { exports } => vec![("exports", Detail::Texts(exports))],
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

fn import<'a>(module: &str, name: &str) -> Detail<'a> {
    Detail::Text(Cow::Owned(format!("{module}.{name}")))
}

impl CallError {
    /// The reason in the table of errors.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            CallError::Guest { .. } | CallError::Failed { .. } => Reason::GuestError,
            CallError::Trap { .. } => Reason::Trap,
            CallError::Limit { .. } => Reason::Limit,
            CallError::Timeout => Reason::Timeout,
            CallError::Overloaded { .. } => Reason::Overloaded,
            CallError::Quota { .. } => Reason::Quota,
            CallError::NoProgram { .. } => Reason::NotAProgram,
            CallError::InvalidOption { .. } => Reason::InvalidOption,
            CallError::NoExport { .. } => Reason::NoExport,
            CallError::Arguments { .. } => Reason::InvalidArguments,
            CallError::Image { .. } => Reason::InvalidImage,
            // Whoever owns an instance calls it once at a time, and asks whether it is spent.
            CallError::InstanceBusy | CallError::InstanceSpent | CallError::Internal { .. } => Reason::Internal,
        }
    }

    /// Which of its reason's kinds it is, where that has kinds.
    #[must_use]
    pub const fn kind(&self) -> Option<&'static str> {
        match self {
            CallError::Trap { kind, .. } => Some(kind.name()),
            CallError::Limit { limit, .. } => Some(limit.name()),
            CallError::Quota { quota, .. } => Some(quota.name()),
            _ => None,
        }
    }

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
            CallError::NoExport { exports, .. } => vec![("exports", Detail::Texts(exports))],
            CallError::Arguments { path, .. } if !path.is_empty() => vec![("path", Detail::Text(path.into()))],
            CallError::Quota { namespace, allowed, .. } => {
                vec![("namespace", Detail::Text(namespace.into())), ("allowed", Detail::Count(*allowed))]
            }
            _ => Vec::new(),
        }
    }

    /// Is its instance as it was before the call, as far as the host knows?
    pub(crate) const fn leaves_instance(&self) -> bool {
        use CallError::{Arguments, Failed, Guest, NoExport};
        matches!(self, Guest { .. } | Failed { .. } | NoExport { .. } | Arguments { .. })
    }

    /// The text that was made for this one.
    pub(crate) fn text(&self) -> &str {
        match self {
            CallError::Guest { message, .. }
            | CallError::Trap { message, .. }
            | CallError::Overloaded { message }
            | CallError::Quota { message, .. }
            | CallError::InvalidOption { message }
            | CallError::Arguments { message, .. }
            | CallError::Image { message }
            | CallError::Internal { message } => message,
            CallError::Limit { .. } | CallError::Timeout => "",
            CallError::NoProgram { .. } | CallError::NoExport { .. } | CallError::Failed { .. } => "",
            CallError::InstanceBusy | CallError::InstanceSpent => "",
        }
    }

    /// A limit that was exceeded, by a guest that is not known any closer.
    pub(crate) fn limit(limit: Limit, allowed: u64) -> Self {
        CallError::Limit { limit, allowed, frames: Vec::new(), console: Vec::new() }
    }
}
