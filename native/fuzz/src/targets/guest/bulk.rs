//! Bulk instructions with operands near the edges of memories, tables and the pieces in which they are done.

use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, Instruction as I, InstructionSink, MemorySection, MemoryType, Module,
    RefType, TableSection, TableType, TypeSection, ValType,
};

use super::engines::compare;

const PAGE: i64 = 64 << 10;
/// Elements that are done at once.
const TABLE_PIECE: i64 = 4 << 10;
/// Of the passive segment.
const DATA_BYTES: i64 = 2 * PAGE - 100;
/// Of the table, and at most of the passive segment for it.
const ELEMENTS: i64 = 9_000;
/// Instructions of a module, at most, and bytes that each is made of.
const MOST: usize = 6;
const OPERATION_BYTES: usize = 7;
/// The one function that elements refer to.
const EMPTY: u32 = 1;

/// Makes a module with the bulk instructions that `data` say, calls them one after another in one instance, and then shows
/// the table in memory: the same everywhere.
///
/// # Panics
/// When it is not.
pub fn bulk(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let pages = i64::from(1 + first % 4);
    let mut functions: Vec<Function> = rest
        .chunks_exact(OPERATION_BYTES)
        .take(MOST)
        .filter_map(|bytes| <&[u8; OPERATION_BYTES]>::try_from(bytes).ok())
        .map(|bytes| operation(bytes, pages * PAGE))
        .collect();
    functions.push(show_table());
    // Code is made for each element, which takes longer than all else.
    let elements = if *first >= 240 { ELEMENTS } else { 100 };
    compare(&module(&functions, pages.unsigned_abs(), elements.unsigned_abs()), true);
}

/// One instruction between two that can be told from it.
fn operation(bytes: &[u8; OPERATION_BYTES], memory: i64) -> Function {
    let [what, to, near_to, from, near_from, len, near_len] = *bytes;
    let mut function = Function::new([(3, ValType::I32)]);
    let mut code = function.instructions();
    let on_table = what % 8 >= 4;
    let (size, piece) = if on_table { (ELEMENTS, TABLE_PIECE) } else { (memory, PAGE) };
    let operand = |code: &mut InstructionSink<'_>, base: u8, near: u8, local: u32| {
        let number = place(base, near, size, piece);
        code.i32_const(number);
        // The compiler knows half of them.
        if what & 0x80 != 0 {
            code.local_set(local).local_get(local);
        }
    };
    operand(&mut code, to, near_to, 0);
    match what % 8 {
        0 => drop(code.i32_const(i32::from(near_from))),
        // A table is filled with nothing, or with the function.
        4 if near_from % 2 == 0 => drop(code.ref_null(wasm_encoder::HeapType::FUNC)),
        4 => drop(code.ref_func(EMPTY)),
        _ => operand(&mut code, from, near_from, 1),
    }
    operand(&mut code, len, near_len, 2);
    match what % 8 {
        0 => code.memory_fill(0),
        1 | 2 => code.memory_copy(0, 0),
        3 => code.memory_init(0, 0),
        4 => code.table_fill(0),
        5 | 6 => code.table_copy(0, 0),
        _ => code.table_init(0, 0),
    };
    // Now and then the segments are gone from here on.
    match what >> 3 & 0xf {
        0 => drop(code.data_drop(0)),
        1 => drop(code.elem_drop(0)),
        _ => {}
    }
    code.end();
    function
}

/// A number near some place.
#[allow(clippy::cast_possible_truncation, reason = "places past the end of all addresses are wanted, too")]
fn place(base: u8, near: u8, size: i64, piece: i64) -> i32 {
    let base = match base % 12 {
        0 => 0,
        1 => piece,
        2 => 2 * piece,
        3 => size - piece,
        4 => size,
        5 => size / 2,
        6 => 1 << 32,
        7 => 1 << 31,
        8 => (1 << 32) - piece,
        9 => (1 << 32) - size,
        _ => size * i64::from(near) / 256,
    };
    (base + i64::from(near.cast_signed() / 4)) as i32
}

/// Turns the bits of the memory's beginning whose table elements are not there.
fn show_table() -> Function {
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();
    code.loop_(wasm_encoder::BlockType::Empty);
    let at = wasm_encoder::MemArg { offset: 0, align: 0, memory_index: 0 };
    code.local_get(0).local_get(0).i32_load8_u(at).local_get(0).table_get(0).ref_is_null().i32_xor().i32_store8(at);
    code.local_get(0).i32_const(1).i32_add().local_tee(0);
    code.i32_const(i32::try_from(ELEMENTS).unwrap_or(i32::MAX)).i32_lt_u().br_if(0).end().end();
    function
}

fn module(functions: &[Function], pages: u64, segment: u64) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], []);
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("wapc", "__guest_response", wasm_encoder::EntityType::Function(0));
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    declared.function(1);
    code.function(Function::new([]).instruction(&I::End));
    for function in functions {
        declared.function(1);
        code.function(function);
    }
    let elements = ELEMENTS.unsigned_abs();
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: elements,
        maximum: Some(elements),
        shared: false,
    });
    let mut memories = MemorySection::new();
    let maximum = Some(pages);
    memories.memory(MemoryType { minimum: pages, maximum, memory64: false, shared: false, page_size_log2: None });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let all = vec![EMPTY; usize::try_from(segment).unwrap_or_default()];
    let mut segments = ElementSection::new();
    segments.passive(Elements::Functions(all.into()));
    let pattern = |bytes: u64, step: u64| -> Vec<u8> {
        (0..bytes).map(|n| (n.wrapping_mul(step) >> 8).to_le_bytes()[0]).collect()
    };
    let mut data = DataSection::new();
    data.passive(pattern(DATA_BYTES.unsigned_abs(), 40_503));
    data.active(0, &ConstExpr::i32_const(0), pattern(pages * PAGE.unsigned_abs(), 2_654_435_761));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared).section(&tables).section(&memories).section(&exports);
    module.section(&segments).section(&DataCountSection { count: 2 }).section(&code).section(&data);
    module.finish()
}
