//! How a guest came to an end that it did not choose.

use wasmtime::{Trap, WasmBacktrace};

/// What kind of fault stopped a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrapKind {
    /// An `unreachable` instruction: most languages compile a panic or an abort to it.
    Unreachable,
    /// A load or store past the end of the linear memory.
    MemoryOutOfBounds,
    /// An access past the end of a table.
    TableOutOfBounds,
    /// An indirect call through an empty table element.
    IndirectCallToNull,
    /// An indirect call with another signature than the function has.
    BadSignature,
    /// An integer operation whose result does not fit.
    IntegerOverflow,
    /// An integer division by zero.
    IntegerDivisionByZero,
    /// A float that no integer of the asked type can represent.
    BadConversionToInteger,
    /// The guest used up its stack.
    StackOverflow,
    /// The guest handed the host a pointer or length outside of its memory.
    BadPointer,
    /// The guest exited in the middle of a call (`proc_exit` of WASI).
    Exit,
    /// Any other trap of the engine.
    Other,
}

impl TrapKind {
    /// The name that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TrapKind::Unreachable => "unreachable",
            TrapKind::MemoryOutOfBounds => "memory_out_of_bounds",
            TrapKind::TableOutOfBounds => "table_out_of_bounds",
            TrapKind::IndirectCallToNull => "indirect_call_to_null",
            TrapKind::BadSignature => "bad_signature",
            TrapKind::IntegerOverflow => "integer_overflow",
            TrapKind::IntegerDivisionByZero => "integer_division_by_zero",
            TrapKind::BadConversionToInteger => "bad_conversion_to_integer",
            TrapKind::StackOverflow => "stack_overflow",
            TrapKind::BadPointer => "bad_pointer",
            TrapKind::Exit => "exit",
            TrapKind::Other => "other",
        }
    }
}

impl From<Trap> for TrapKind {
    fn from(trap: Trap) -> Self {
        match trap {
            Trap::UnreachableCodeReached => TrapKind::Unreachable,
            Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
            Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
            Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
            Trap::BadSignature => TrapKind::BadSignature,
            Trap::IntegerOverflow => TrapKind::IntegerOverflow,
            Trap::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
            Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
            Trap::StackOverflow => TrapKind::StackOverflow,
            _ => TrapKind::Other,
        }
    }
}

/// One wasm frame of a backtrace, innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index of the function in its module.
    pub index: u32,
    /// The function's name, demangled, where the module names it.
    pub name: Option<String>,
    /// Where in the module's bytes the frame stood.
    pub offset: Option<usize>,
}

/// The frames that an engine error carries, innermost first; empty where it carries none. The code that ran stands
/// `code_shift` bytes later in its module than in the one that its author knows.
pub(crate) fn frames(error: &wasmtime::Error, code_shift: isize) -> Vec<Frame> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    backtrace
        .frames()
        .iter()
        .map(|frame| Frame {
            index: frame.func_index(),
            name: frame.func_name().map(demangle),
            offset: frame.module_offset().and_then(|offset| offset.checked_add_signed(-code_shift)),
        })
        .collect()
}

/// Rust names as people write them, without their hash; others as they are.
fn demangle(name: &str) -> String {
    rustc_demangle::try_demangle(name).map_or_else(|_| name.to_owned(), |name| format!("{name:#}"))
}
