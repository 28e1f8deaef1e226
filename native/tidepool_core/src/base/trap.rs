//! How a guest came to an end that it did not choose.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use wasmparser::{Encoding, ExternalKind, Parser, Payload};
use wasmtime::Trap;

use super::source_lines::SourceLines;
use super::unreachables::Unreachables;

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
    pub const fn name(self) -> &'static str {
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

/// Longest name of a function in a backtrace, in bytes; the rest of it is cut off.
pub const MAX_NAME_BYTES: usize = 256;
/// Frames that an error has.
pub(crate) const MAX_FRAMES: usize = 32;
/// Frames of a stack that can be seen. More than those of an error, for a stack is left that is seen whole.
pub(crate) const MAX_STACK_FRAMES: usize = 128;
const ELLIPSIS: char = '…';
/// Most exported functions whose names are kept.
const MAX_EXPORTS: usize = 1_000;

/// One wasm frame of a backtrace, innermost first. Those of one backtrace are all of one module, or of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index of the function in its module.
    pub index: u32,
    /// The function's name, demangled and at most [`MAX_NAME_BYTES`] long, where the module names or exports it.
    pub name: Option<String>,
    /// Where in the module's, or the component's, bytes the frame stood.
    pub offset: Option<usize>,
    /// Lines of the module, where it has debug data.
    pub lines: Option<Arc<SourceLines>>,
}

/// What a module says of its functions beside their names.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// What it exports them as, by their index: names for those that it gives no other.
    exported: BTreeMap<u32, String>,
    unreachables: Unreachables,
    /// Which lines they come from.
    pub(crate) lines: Option<Arc<SourceLines>>,
}

impl Symbols {
    /// Of a module, or of all that are in a component; of one that can't be read, what is said up to there.
    pub(crate) fn of(wasm: &[u8]) -> Self {
        Symbols {
            exported: Self::exported(wasm),
            unreachables: Unreachables::of(wasm),
            lines: SourceLines::of(wasm).map(Arc::new),
        }
    }

    fn exported(wasm: &[u8]) -> BTreeMap<u32, String> {
        let mut names = BTreeMap::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ExportSection(exports)) => {
                    let functions = exports.into_iter().flatten().filter(|export| export.kind == ExternalKind::Func);
                    for export in functions.take(MAX_EXPORTS) {
                        names.entry(export.index).or_insert_with(|| readable(export.name));
                    }
                    break;
                }
                // In a component several functions have one index.
                Ok(Payload::Version { encoding: Encoding::Component, .. } | Payload::CodeSectionStart { .. })
                | Err(_) => break,
                Ok(_) => {}
            }
        }
        names
    }

    /// What they take, once the lines were read as well.
    pub(crate) fn bytes(&self) -> usize {
        let exported: usize = self.exported.values().map(|name| name.capacity() + 2 * size_of::<(u32, String)>()).sum();
        let lines = self.lines.as_ref().map_or(0, |lines| lines.most_bytes());
        exported + self.unreachables.bytes() + lines
    }

    /// The name of the function with this index.
    pub(crate) fn name(&self, index: u32) -> Option<String> {
        self.exported.get(&index).cloned()
    }

    /// The instruction that was at work where the engine says that a frame stood, both as places in what was deployed.
    pub(crate) fn place(&self, offset: usize) -> usize {
        self.unreachables.place(offset)
    }
}

/// Rust names as people write them, without their hash; others as they are. Long ones are cut, for modules may say anything.
pub(crate) fn readable(name: &str) -> String {
    let mut short = Short(String::new());
    // An error says that it was cut.
    let _ = match rustc_demangle::try_demangle(name) {
        Ok(name) => write!(short, "{name:#}"),
        Err(_) => short.write_str(name),
    };
    short.0
}

/// Takes as much text as a name may have. Demangled names can be far longer than mangled ones.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() <= MAX_NAME_BYTES {
            self.0.push_str(text);
            return Ok(());
        }
        let room = MAX_NAME_BYTES - ELLIPSIS.len_utf8();
        self.0.push_str(text.get(..text.floor_char_boundary(room.saturating_sub(self.0.len()))).unwrap_or_default());
        self.0.truncate(self.0.floor_char_boundary(room));
        self.0.push(ELLIPSIS);
        Err(fmt::Error)
    }
}
