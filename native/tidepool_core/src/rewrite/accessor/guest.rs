//! The accessor: a module that has a component's memory and mutable globals, and tells the host of them.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, InstructionSink, MemoryType, Module, TypeSection, ValType,
};

use super::held::{AT_ONCE, Number};
use super::outline::Outline;

/// What it imports, all of it from one module without a name.
pub(crate) const SEEN: &str = "seen";
pub(crate) const GLOBALS: &str = "globals";
pub(crate) const GLOBAL: &str = "global";
pub(super) const MEMORY: &str = "memory";

/// What it exports: the functions that the host calls, in the order of [`FUNCTIONS`], and the one that says where bytes are to lie.
pub(super) const REALLOC: &str = "realloc";

/// The functions that the host calls, by their names: what each takes, beside nothing, and whether it returns a number.
pub(super) const FUNCTIONS: [(&str, Takes, bool); 8] = [
    (OPEN, Takes::Nothing, false),
    (START, Takes::Nothing, false),
    (TAKE, Takes::Nothing, false),
    (SIZE, Takes::Nothing, true),
    (GROW, Takes::Number, true),
    (SEEK, Takes::Number, false),
    (PUT, Takes::Bytes, false),
    (SET, Takes::Nothing, false),
];
/// Gets the standard streams, before all else.
pub(crate) const OPEN: &str = "open";
/// Runs the start functions of modules.
pub(crate) const START: &str = "start";
/// Tells the host of all globals, and then of the memory.
pub(crate) const TAKE: &str = "take";
/// How many pages the memory has.
pub(crate) const SIZE: &str = "size";
/// Grows the memory by so many pages; 1 when it has.
pub(crate) const GROW: &str = "grow";
/// Where the next bytes are to lie.
pub(crate) const SEEK: &str = "seek";
/// Bytes, which lie there by now.
pub(crate) const PUT: &str = "put";
/// Asks the host for all globals.
pub(crate) const SET: &str = "set";

/// Pages of a memory that is as large as one can be.
const MOST_PAGES: i32 = 1 << 16;

/// What a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Number,
    Bytes,
}

/// The import of the global with this number, of the start function and of the standard stream.
pub(super) fn global(number: usize) -> String {
    format!("global{number}")
}

pub(super) fn start(number: usize) -> String {
    format!("start{number}")
}

pub(super) fn stream(number: usize) -> String {
    format!("stream{number}")
}

/// Types of functions.
const NOTHING: u32 = 0;
const LIST: u32 = 1;
const MANY: u32 = 2;
const WIDE: u32 = 3;
const SOME: u32 = 4;
const ONE: u32 = 5;
const BOTH: u32 = 6;
const PLACE: u32 = 7;

/// Functions that it imports: these, then the streams, and then the start functions.
const F_SEEN: u32 = 0;
const F_GLOBALS: u32 = 1;
const F_GLOBAL: u32 = 2;
const F_FIRST: u32 = 3;

impl Number {
    pub(super) fn ty(self) -> ValType {
        match self {
            Number::I32 => ValType::I32,
            Number::I64 => ValType::I64,
            Number::F32 => ValType::F32,
            Number::F64 => ValType::F64,
        }
    }

    /// As 64 bits.
    fn widen(self, code: &mut InstructionSink<'_>) {
        match self {
            Number::I32 => code.i64_extend_i32_u(),
            Number::I64 => code,
            Number::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
            Number::F64 => code.i64_reinterpret_f64(),
        };
    }

    /// From 64 bits.
    fn narrow(self, code: &mut InstructionSink<'_>) {
        match self {
            Number::I32 => code.i32_wrap_i64(),
            Number::I64 => code,
            Number::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
            Number::F64 => code.f64_reinterpret_i64(),
        };
    }
}

/// The accessor of a component.
pub(super) fn module(outline: &Outline) -> Module {
    let numbers = outline.numbers();
    let (globals, streams, starts) = (count(numbers.len()), count(outline.streams.len()), count(outline.starts.len()));
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let first = F_FIRST + streams + starts;
    let mut code = CodeSection::new();
    for (index, (name, takes, returns)) in (first..).zip(FUNCTIONS) {
        functions.function(match (takes, returns) {
            (Takes::Nothing, false) => NOTHING,
            (Takes::Nothing, true) => ONE,
            (Takes::Number, false) => SOME,
            (Takes::Number, true) => BOTH,
            (Takes::Bytes, _) => LIST,
        });
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        let mut sink = body.instructions();
        match name {
            OPEN => open(&mut sink, streams),
            START => (0..starts).for_each(|number| {
                sink.call(F_FIRST + streams + number);
            }),
            TAKE => take(&mut sink, &numbers),
            SIZE => {
                sink.memory_size(0);
            }
            GROW => {
                sink.local_get(0).memory_grow(0).i32_const(-1).i32_ne();
            }
            SEEK => {
                sink.local_get(0).global_set(globals);
            }
            SET => set(&mut sink, &numbers),
            _put => {}
        }
        sink.end();
        code.function(&body);
    }
    functions.function(PLACE);
    exports.export(REALLOC, ExportKind::Func, first + count(FUNCTIONS.len()));
    let mut body = Function::new([]);
    body.instructions().global_get(globals).end();
    code.function(&body);

    let mut place = GlobalSection::new();
    place.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(0));
    let mut module = Module::new();
    module.section(&types()).section(&imports(outline, &numbers)).section(&functions).section(&place);
    module.section(&exports).section(&code);
    module
}

/// How many imports an instance has besides, with its accessor, and how many functions are lifted and lowered besides.
pub(crate) fn added(outline: &Outline) -> (usize, usize) {
    let Outline { globals, starts, streams, drops, .. } = outline;
    // Of the accessor its memory and what it asks the host; of a drop the one that it is in place of.
    let imports = globals.len() + starts.len() + streams.len() + drops + 4;
    (imports, FUNCTIONS.len() + streams.len() + drops + 3)
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn types() -> TypeSection {
    use ValType::{I32, I64};
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([I32, I32], []);
    types.ty().function([I64; AT_ONCE], []);
    types.ty().function([I32], [I64]);
    types.ty().function([I32], []);
    types.ty().function([], [I32]);
    types.ty().function([I32], [I32]);
    types.ty().function([I32; 4], [I32]);
    types
}

fn imports(outline: &Outline, numbers: &[Number]) -> ImportSection {
    let mut imports = ImportSection::new();
    for (name, ty) in [(SEEN, LIST), (GLOBALS, MANY), (GLOBAL, WIDE)] {
        imports.import("", name, EntityType::Function(ty));
    }
    for number in 0..outline.streams.len() {
        imports.import("", &stream(number), EntityType::Function(ONE));
    }
    for number in 0..outline.starts.len() {
        imports.import("", &start(number), EntityType::Function(NOTHING));
    }
    let memory = MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("", MEMORY, EntityType::Memory(memory));
    for (number, holds) in numbers.iter().enumerate() {
        let ty = GlobalType { val_type: holds.ty(), mutable: true, shared: false };
        imports.import("", &global(number), EntityType::Global(ty));
    }
    imports
}

fn open(code: &mut InstructionSink<'_>, streams: u32) {
    for number in 0..streams {
        // No other has been given before.
        code.call(F_FIRST + number).i32_const(number.cast_signed() + 1).i32_ne();
        code.if_(BlockType::Empty).unreachable().end();
    }
}

fn take(code: &mut InstructionSink<'_>, numbers: &[Number]) {
    for (piece, first) in numbers.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
        for (index, number) in (first..).zip(piece) {
            code.global_get(index);
            number.widen(code);
        }
        for _ in piece.len()..AT_ONCE {
            code.i64_const(0);
        }
        code.call(F_GLOBALS);
    }
    // A list has fewer bytes than 4 GiB.
    code.memory_size(0).i32_const(MOST_PAGES).i32_eq().if_(BlockType::Empty).unreachable().end();
    code.i32_const(0).memory_size(0).i32_const(16).i32_shl().call(F_SEEN);
}

fn set(code: &mut InstructionSink<'_>, numbers: &[Number]) {
    for (index, number) in (0_i32..).zip(numbers) {
        code.i32_const(index).call(F_GLOBAL);
        number.narrow(code);
        code.global_set(index.cast_unsigned());
    }
}
