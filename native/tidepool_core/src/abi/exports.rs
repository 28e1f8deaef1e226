//! Exports of a module: those that tell its ABI, and those that the ABI needs.

use wasmparser::{Parser, Payload};
use wasmtime::{ExternType, FuncType, ModuleExport, Mutability, ValType};

use crate::base::error::CompileError;
use crate::rewrite::exports::RESERVED;

/// Imports of a module, at most: validation refuses more.
const MAX_IMPORTS: usize = 1_000_000;

/// The names by which ABIs are detected.
pub(crate) struct Surface<'a> {
    /// Modules that it imports from.
    pub(crate) imports: Vec<&'a str>,
    /// Names of exports.
    pub(crate) exports: Vec<&'a str>,
}

impl<'a> Surface<'a> {
    pub(crate) fn of(module: &'a wasmtime::Module) -> Self {
        let exports = module.exports().map(|export| export.name());
        Surface {
            imports: module.imports().map(|import| import.module()).collect(),
            exports: exports.filter(|name| !name.starts_with(RESERVED)).collect(),
        }
    }

    /// Of a module that has yet to be compiled; of one that can't be read, those up to there, and no more imports than a module may
    /// have.
    pub(crate) fn read(wasm: &'a [u8]) -> Self {
        let mut surface = Surface { imports: Vec::new(), exports: Vec::new() };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ImportSection(imports)) => {
                    let read = imports.into_imports().map_while(Result::ok).map(|import| import.module);
                    surface.imports.extend(read.take(MAX_IMPORTS));
                }
                Ok(Payload::ExportSection(exports)) => {
                    surface.exports.extend(exports.into_iter().map_while(Result::ok).map(|export| export.name));
                    break;
                }
                Ok(Payload::CodeSectionStart { .. }) | Err(_) => break,
                Ok(_) => {}
            }
        }
        surface
    }

    pub(crate) fn exports(&self, name: &str) -> bool {
        self.exports.contains(&name)
    }
}

/// Indices of the ABI's exports, so that no call looks them up by name.
pub(crate) struct Exports {
    pub(crate) memory: ModuleExport,
    /// The function that serves a call; `None` where each instance has its own.
    pub(crate) call: Option<ModuleExport>,
    pub(crate) start: Vec<ModuleExport>,
}

impl Exports {
    /// The memory, `call`, which serves a call and has this type, and the functions of `start` that there are.
    ///
    /// # Errors
    /// When memory or `call` are missing, or one of them is of another type.
    pub(crate) fn of(
        module: &wasmtime::Module,
        call: (&str, &[ValType], &[ValType]),
        start: &[&str],
    ) -> Result<Self, CompileError> {
        let (name, params, results) = call;
        let call = Some(function(module, name, params, results)?);
        let start = start.iter().filter(|name| module.get_export(name).is_some());
        let start = start.map(|name| function(module, name, &[], &[])).collect::<Result<_, _>>()?;
        Ok(Exports { call, start, ..Self::memory_alone(module)? })
    }

    /// The memory, where what is called differs from instance to instance.
    ///
    /// # Errors
    /// When there is none, or something else has its name.
    pub(crate) fn memory_alone(module: &wasmtime::Module) -> Result<Self, CompileError> {
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => index(module, "memory", "a memory named")?,
            Some(other) => return Err(export_type("memory", "a memory", &other)),
            None => return Err(CompileError::MissingExport { name: "memory".into(), kind: "a memory named" }),
        };
        Ok(Exports { memory, call: None, start: Vec::new() })
    }
}

/// The index of the function with this name and type.
fn function(
    module: &wasmtime::Module,
    name: &str,
    params: &[ValType],
    results: &[ValType],
) -> Result<ModuleExport, CompileError> {
    let expected = FuncType::new(module.engine(), params.iter().cloned(), results.iter().cloned());
    match module.get_export(name) {
        Some(ExternType::Func(found)) if FuncType::eq(&found, &expected) => index(module, name, "a function named"),
        Some(found) => Err(export_type(name, &describe(&ExternType::Func(expected)), &found)),
        None => Err(CompileError::MissingExport { name: name.into(), kind: "a function named" }),
    }
}

fn export_type(name: &str, expected: &str, found: &ExternType) -> CompileError {
    CompileError::ExportType { name: name.into(), expected: expected.into(), found: describe(found) }
}

fn index(module: &wasmtime::Module, name: &str, kind: &'static str) -> Result<ModuleExport, CompileError> {
    module.get_export_index(name).ok_or_else(|| CompileError::MissingExport { name: name.into(), kind })
}

/// A type for messages: `a function (i32, i32) -> i32`.
pub(crate) fn describe(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(function) => {
            let list = |types: Vec<String>| types.join(", ");
            let params = list(function.params().map(|ty| ty.to_string()).collect());
            let results = list(function.results().map(|ty| ty.to_string()).collect());
            if results.is_empty() {
                format!("a function ({params})")
            } else {
                format!("a function ({params}) -> {results}")
            }
        }
        ExternType::Memory(_) => "a memory".into(),
        ExternType::Table(_) => "a table".into(),
        ExternType::Global(global) if global.mutability() == Mutability::Var => {
            format!("a mutable global of type {}", global.content())
        }
        ExternType::Global(global) => format!("a global of type {}", global.content()),
        ExternType::Tag(_) => "a tag".into(),
    }
}
