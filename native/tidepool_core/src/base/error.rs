//! Why a module can't be deployed, and why a call failed: each by a reason of the table of all errors. What else is said of one is in
//! `details`.

mod details;

pub use details::{Detail, Details};

use tidepool_errors::Reason;

#[cfg(doc)]
use crate::base::console::{TAIL_BYTES, TAIL_LINES};
use crate::base::limits::{Limit, Quota};
use crate::base::trap::{Frame, TrapKind};
use crate::value::{Value, shown};

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
    /// The component has no export that can be called.
    #[error(
        "the component exports nothing that can be called: export functions, by themselves or in an interface of yours, `wasi:http/incoming-handler@0.2` (a handler of HTTP) or `wasi:cli/run@0.2` (a command)"
    )]
    NothingToCall {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// The component exports an interface of WASI's that this host does not call, and nothing else that can be called.
    #[error(
        "the component exports `{interface}`, which this host does not call: it calls `wasi:http/incoming-handler@0.2` (a handler of HTTP) and `wasi:cli/run@0.2` (a command), and no async functions of WASI 0.3, which are experimental in wasmtime, and without security fixes there; build it for one of these, or export functions of your own"
    )]
    NotServed {
        /// Its whole name.
        interface: String,
        /// All that the component exports.
        exports: Vec<String>,
    },
    /// Each of its exports has to do with what no caller has a value for.
    #[error(
        "the component exports nothing that can be called: `{first}` {why}{}: export a function without, or of resources a constructor that makes them",
        if exports.len() > 1 { ", and so it is with the others" } else { "" }
    )]
    Uncallable {
        /// One of them.
        first: String,
        /// What there is no value for.
        why: &'static str,
        /// What it exports.
        exports: Vec<String>,
    },
    /// The module is what a component is made of, and no component yet.
    #[error(
        "the module was made for a component (it has a section `component-type`), and is none yet: make one of it with `wasm-tools component new`, or build it for `wasm32-wasip2`; to call its exports with numbers as they are, deploy it with `abi=exports`"
    )]
    CoreOfComponent,
    /// The module does not speak the ABI that it is to be called by.
    #[error(
        "it does not speak the ABI `{wanted}`, which the option `abi` asks for: leave that out, and one is found that it speaks"
    )]
    OtherAbi {
        /// The ABI that was asked for.
        wanted: String,
        /// What it exports.
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
    #[error(
        "the module imports `{}`, which this host does not offer{}",
        import_name(module, name),
        instead(module, name)
    )]
    MissingImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
    },
    /// The module imports something that the host offers with another type.
    #[error("the module imports `{}` as {found}, but the host offers {expected}", import_name(module, name))]
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
    /// Several typed exports go by this name.
    #[error("several exports are called `{name}`: name the interface too")]
    SharedName {
        /// What was asked for.
        name: String,
        /// Their whole names.
        exports: Vec<String>,
    },
    /// Arguments of a typed export are of other types than it takes.
    #[error("{message}")]
    Arguments {
        /// Which one, by its name or its place from 1, and where in it: names, and indices from 0, with dots between. Empty for all
        /// of them.
        path: String,
        /// What it is, and what it should be.
        message: String,
    },
    /// A handler of HTTP has ended, or failed, without a response.
    #[error("{message}")]
    NoResponse {
        /// What it did instead.
        message: String,
    },
    /// An instance that is to be kept for many calls did not serve two.
    #[error("the {turn} of two requests (GET /) on one instance failed: {why}")]
    NotReusable {
        /// Which one.
        turn: &'static str,
        /// What it did.
        why: String,
    },
    /// The client that an HTTP handler responds to is gone.
    #[error("the client is gone")]
    ClientGone,
    /// An image can't be made, or no instance can begin with it.
    #[error("{message}")]
    Image {
        /// Why not.
        message: String,
    },
    /// A call of an actor has left its component with handles of resources: its image would lack them, and so the call is undone.
    #[error("{message}")]
    KeptHandles {
        /// Those of which interfaces, and what to do.
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

/// What a value says, if it is a text, as far as it belongs into a message: all of it is told beside that.
fn said(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Name(text) => format!(": {}", shown(text)),
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

impl CompileError {
    /// The reason in the table of errors.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            CompileError::NotWasm => Reason::NotWasm,
            CompileError::Component => Reason::Component,
            CompileError::Invalid { .. } => Reason::InvalidModule,
            CompileError::UnknownAbi { .. }
            | CompileError::NothingToCall { .. }
            | CompileError::NotServed { .. }
            | CompileError::Uncallable { .. }
            | CompileError::CoreOfComponent
            | CompileError::OtherAbi { .. } => Reason::UnknownAbi,
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
}

/// An import as users are shown it: its name behind that of its module or interface, alone where it is of none.
pub(crate) fn import_name(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}.{name}") }
}

/// Most names of exports that an error tells, and most bytes of them together: a module may have a hundred thousand, as long.
const TOLD_NAMES: usize = 100;
const TOLD_BYTES: usize = 8 << 10;

fn first(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut left = TOLD_BYTES;
    let fits = |name: &String| {
        let room = left.checked_sub(name.len());
        left = room.unwrap_or(0);
        room.is_some()
    };
    names.into_iter().take(TOLD_NAMES).take_while(fits).collect()
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
            CallError::NoExport { .. } | CallError::SharedName { .. } => Reason::NoExport,
            CallError::Arguments { .. } => Reason::InvalidArguments,
            CallError::NoResponse { .. } => Reason::NoResponse,
            CallError::ClientGone => Reason::Aborted,
            CallError::NotReusable { .. } => Reason::NotReusable,
            CallError::Image { .. } => Reason::InvalidImage,
            CallError::KeptHandles { .. } => Reason::KeptHandles,
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

    /// Is its instance as it was before the call, as far as the host knows?
    pub(crate) const fn leaves_instance(&self) -> bool {
        use CallError::{Arguments, Failed, Guest, NoExport, NoResponse, SharedName};
        matches!(
            self,
            Guest { .. } | Failed { .. } | NoExport { .. } | SharedName { .. } | Arguments { .. } | NoResponse { .. }
        )
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
            | CallError::NoResponse { message }
            | CallError::NotReusable { why: message, .. }
            | CallError::Image { message }
            | CallError::KeptHandles { message }
            | CallError::Internal { message } => message,
            CallError::Limit { .. } | CallError::Timeout => "",
            CallError::NoProgram { .. } | CallError::Failed { .. } => "",
            CallError::NoExport { .. } | CallError::SharedName { .. } => "",
            CallError::InstanceBusy | CallError::InstanceSpent | CallError::ClientGone => "",
        }
    }

    /// The error as a sentence with all that the guest says, which tells it from others.
    pub(crate) fn in_full(&self) -> String {
        if let CallError::Failed { value, .. } = self
            && let Value::Text(text) | Value::Name(text) = &**value
        {
            return format!("the guest returned an error: {text}");
        }
        self.to_string()
    }

    /// A call has left handles of these interfaces.
    pub(crate) fn kept_handles(interfaces: &str) -> Self {
        let message = format!(
            "the call is over and its component still has handles of {interfaces}, which no image of an actor holds; \
             the call is undone: have it drop them before it returns, and get others in the next call"
        );
        CallError::KeptHandles { message }
    }

    /// That a typed export has returned the error of its result, with how large that was in its place.
    pub(crate) fn too_large_to_keep(value: &Value, is_json: bool) -> Self {
        let text = format!("an error of {} bytes, which is too large to be kept", value.size());
        CallError::Failed { value: Box::new(Value::Text(text.into())), is_json }
    }

    /// There is no export of this name, which a caller gave; the first are told that there are, of however many.
    pub(crate) fn no_export(name: &str, exports: impl IntoIterator<Item = String>) -> Self {
        CallError::NoExport { name: shown(name), exports: first(exports) }
    }

    /// There are several that go by this name; the first of them are told.
    pub(crate) fn shared_name(name: &str, exports: impl IntoIterator<Item = String>) -> Self {
        CallError::SharedName { name: shown(name), exports: first(exports) }
    }

    /// A limit that was exceeded, by a guest that is not known any closer.
    pub(crate) fn limit(limit: Limit, allowed: u64) -> Self {
        CallError::Limit { limit, allowed, frames: Vec::new(), console: Vec::new() }
    }
}
