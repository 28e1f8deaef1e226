//! Why a module can't be deployed, and why a call failed.

#[cfg(doc)]
use crate::base::console::{TAIL_BYTES, TAIL_LINES};
use crate::base::limits::{Limit, Quota};
use crate::base::trap::{Frame, TrapKind};

/// Why a module was refused. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The bytes don't start like a WebAssembly module.
    #[error("this is not a WebAssembly module: it does not start with the bytes \\0asm")]
    NotWasm,
    /// A component, which needs another kind of host.
    #[error("this is a WebAssembly component; compile it as a core module (for example for wasm32-wasip1)")]
    Component,
    /// The module is malformed or uses a feature that isn't enabled.
    #[error("the module is not valid: {message}")]
    Invalid {
        /// What the validator said, with the offset.
        message: String,
    },
    /// The module speaks none of the ABIs.
    #[error(
        "the module speaks no ABI that can be called: export `__guest_call` (waPC) or `_start` (a WASI program, or one of processes that imports `lunatic::…`)"
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest itself said that the call failed.
    #[error("{message}")]
    Guest {
        /// The guest's text, or the last lines of a program's stderr.
        message: String,
        /// A program's exit code, where it was a program.
        exit_code: Option<i32>,
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

impl CallError {
    /// A limit that was exceeded, by a guest that is not known any closer.
    pub(crate) fn limit(limit: Limit, allowed: u64) -> Self {
        CallError::Limit { limit, allowed, frames: Vec::new(), console: Vec::new() }
    }
}
