//! What a debugger refuses.

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DebugError {
    /// The recording, or the module, can't be debugged at all.
    #[error("it can't be debugged: {0}")]
    Unsuited(String),
    /// There is no such command, or it lacks something.
    #[error("{0}; `help` lists all commands")]
    Misused(String),
    /// No code is where a breakpoint was asked for.
    #[error("there is no code at {0}")]
    NoPlace(String),
    /// A name or a file means several.
    #[error("{wanted} may be {found}: name one of them")]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// What it may mean.
        found: String,
    },
    /// No breakpoint has this number.
    #[error("there is no breakpoint {0}: `breakpoints` lists them")]
    NoBreakpoint(u32),
    /// The guest stands nowhere.
    #[error("the guest does not run: `run` begins the call, `step` goes to its first line")]
    NotRunning,
    /// It has come to its end.
    #[error("the call is over: `back` goes to its last line, `run` begins it anew")]
    Over,
    /// Nothing is before where it stands.
    #[error("nothing has run before this")]
    AtBeginning,
    /// The stack has fewer frames.
    #[error("there is no frame {0}: `backtrace` lists them")]
    NoFrame(usize),
    /// The memory ends before.
    #[error("the guest's memory has {size} bytes, and ends before {address:#x} + {length}")]
    OutOfMemory {
        /// Where it was asked for.
        address: u64,
        /// How much of it, in bytes.
        length: usize,
        /// What there is, in bytes.
        size: usize,
    },
    /// It was stopped, by its limit of time most likely.
    #[error("the guest was stopped: {0}")]
    Stopped(String),
    /// A run did not come to where the one before had been.
    #[error("another run of the recording came to another place: {0}")]
    Unlike(String),
}
