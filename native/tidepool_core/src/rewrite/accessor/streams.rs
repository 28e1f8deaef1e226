//! Modules that a component's own are given in the place of what it imports of the standard streams.
//!
//! A guest gets a handle of a standard stream when it first prints, and keeps it for good: the adapter of preview 1 does, which all
//! languages but Rust's `wit-bindgen` have. Such a handle is the number of a place in a table that no image holds. So the accessor gets one of
//! each stream in each new instance, before anything else may: they have the numbers from 1. The guest is told these numbers whenever
//! it asks for one, and dropping one has no effect.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Module,
    TypeSection, ValType,
};

/// The function of a module that drops.
pub(super) const DROP: &str = "drop";

/// A module with a function for each of so many streams, by its number, that returns this number.
pub(super) fn numbers(streams: usize) -> Module {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([], [ValType::I32]);
    for (index, number) in (0..).zip(1..=streams) {
        functions.function(0);
        exports.export(&number.to_string(), ExportKind::Func, index);
        let mut body = Function::new([]);
        body.instructions().i32_const(i32::try_from(number).unwrap_or_default()).end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module
}

/// A module that drops a handle by the function that it imports, unless it is that of one of so many streams.
pub(super) fn drops(streams: usize) -> Module {
    let (mut types, mut imports, mut functions, mut exports, mut code) =
        (TypeSection::new(), ImportSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], []);
    imports.import("", DROP, EntityType::Function(0));
    functions.function(0);
    exports.export(DROP, ExportKind::Func, 1);
    let mut body = Function::new([]);
    let mut code_of = body.instructions();
    code_of.local_get(0).i32_const(1).i32_sub().i32_const(i32::try_from(streams).unwrap_or_default()).i32_ge_u();
    code_of.if_(BlockType::Empty).local_get(0).call(0).end().end();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module
}
