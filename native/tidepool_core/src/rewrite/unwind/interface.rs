//! What the host knows of a module whose stack can be left: its exports, the slots of its table, and why another one is refused.

/// Exports: the global that says whether the guest unwinds, and the table of the host's functions and of second bodies.
pub(crate) const UNWINDING: &str = "tidepool:unwinding";
pub(crate) const TABLE: &str = "tidepool:frames";
/// Slots of the table. The host puts functions there before it has the guest unwind or rewind: one that pushes a group of four words,
/// one that pops a group, and one that says which slot is in the last word of the group on top. Behind them are second bodies.
pub(crate) const PUSH: u32 = 0;
pub(crate) const POP: u32 = 1;
pub(crate) const PEEK: u32 = 2;
/// How frames are laid out, by number. It is to be another one with each change of that: of sites, of what a frame has, of slots.
pub(crate) const LAYOUT: u32 = 1;
/// Words in a group.
pub(crate) const GROUP: usize = 4;

/// Why the stack of a module can't be left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is invalid, or of a proposal that this knows nothing of.
    #[error(transparent)]
    Unreadable(#[from] wasmparser::BinaryReaderError),
    /// A function that may wait holds a reference, which would mean nothing elsewhere.
    #[error("its function {function} holds a reference while it may wait: keep it in a table that does not change")]
    Reference { function: u32 },
    /// Tables and segments are those that the module began with wherever it goes.
    #[error(
        "its function {function} has the instruction {instruction}: compile it without what changes tables, and segments that it drops"
    )]
    Table { function: u32, instruction: &'static str },
    /// A function gives its frame up for another that may wait.
    #[error("its function {function} ends in a tail call of what may wait: compile it without tail calls")]
    TailCall { function: u32 },
    /// It makes a reference of an import that waits.
    #[error("it makes a reference of the import {module}.{name}, which waits: call that from a function of its own")]
    Escapes { module: String, name: String },
    /// What instances begin with would be left in the middle.
    #[error("its start function may wait: let an export do that")]
    Start,
    /// It has exports by the names of those that it would get.
    #[error("it exports {UNWINDING} or {TABLE}: rename that")]
    Taken,
    /// A function would have more code or locals than there may be.
    #[error("its function {function} is too long to get what it needs to be left and entered again: split it")]
    TooLong { function: u32 },
    /// It would be more than three times as large.
    #[error("it would grow from {before} to {after} bytes, since most of its code may be on the stack of a wait")]
    TooLarge { before: usize, after: usize },
}
