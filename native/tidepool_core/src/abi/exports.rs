//! Exports of a module: those that tell its ABI, and those that the ABI needs; and what a component exports, by the names alone.
//!
//! The ABI is told before the module is validated, so that what is read for that has bounds here: an export is four bytes of an upload,
//! and many times as much once it is in a list.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wasmparser::{Chunk, ExternalKind, Parser, Payload};
use wasmtime::{ExportType, ExternType, FuncType, ModuleExport, Mutability, ValType};

use crate::base::error::CompileError;
use crate::rewrite::exports::RESERVED;
use crate::value::numbers::is_number;

/// Imports of a module, and exports of a module or a component, at most: validation refuses more.
pub(crate) const MAX_IMPORTS: usize = 1_000_000;
pub(crate) const MAX_EXPORTS: usize = 1_000_000;

/// Exports that an error names, at most.
pub(super) const NAMED: usize = 100;

/// The names by which ABIs are detected.
#[derive(Default)]
pub(crate) struct Surface<'a> {
    /// Modules that it imports from.
    pub(crate) imports: Vec<&'a str>,
    /// Names of exports.
    pub(crate) exports: Vec<&'a str>,
    /// Those of them that are functions.
    pub(crate) functions: Vec<&'a str>,
}

impl<'a> Surface<'a> {
    pub(crate) fn of(module: &'a wasmtime::Module) -> Self {
        let own = |export: &ExportType<'a>| !export.name().starts_with(RESERVED);
        let functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_))).filter(own);
        Surface {
            imports: module.imports().map(|import| import.module()).collect(),
            exports: module.exports().filter(own).map(|export| export.name()).collect(),
            functions: functions.map(|export| export.name()).collect(),
        }
    }

    /// Of a module that has yet to be compiled; of one that can't be read, those up to there, and no more than a module may have.
    pub(crate) fn read(wasm: &'a [u8]) -> Self {
        let mut surface = Surface::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ImportSection(imports)) => {
                    let read = imports.into_imports().map_while(Result::ok).map(|import| import.module);
                    surface.imports.extend(read.take(MAX_IMPORTS));
                }
                Ok(Payload::ExportSection(exports)) => {
                    for export in exports.into_iter().map_while(Result::ok).take(MAX_EXPORTS) {
                        surface.exports.push(export.name);
                        surface.functions.extend((export.kind == ExternalKind::Func).then_some(export.name));
                    }
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

    /// The error of a module that speaks no ABI, with the first of its exports: it may have a million.
    pub(crate) fn unknown(&self) -> CompileError {
        CompileError::UnknownAbi { exports: self.exports.iter().take(NAMED).map(|&name| name.to_owned()).collect() }
    }
}

/// The names that a component exports: as many of them as can be read, and no more than one may have. What is in it has exports of its
/// own, and is passed over: it is not known yet how many components are within one another.
pub(super) fn exported(wasm: &[u8]) -> Vec<&str> {
    let (mut names, mut parser, mut left) = (Vec::new(), Parser::new(0), wasm);
    while let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(left, true) {
        let mut passed = consumed;
        match payload {
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                passed = consumed.saturating_add(unchecked_range.len());
            }
            // A component may have many of them, a module one.
            Payload::ComponentExportSection(section) => {
                let room = MAX_EXPORTS.saturating_sub(names.len());
                names.extend(section.into_iter().map_while(Result::ok).map(|export| export.name.name).take(room));
            }
            Payload::End(_) => break,
            _ => {}
        }
        let Some(rest) = left.get(passed..) else { break };
        left = rest;
    }
    names
}

/// Indices of the ABI's exports, so that no call looks them up by name.
pub(crate) struct Exports {
    /// The memory, where the ABI needs one.
    pub(crate) memory: Option<ModuleExport>,
    /// The function that serves a call; `None` where each instance has its own.
    pub(crate) call: Option<ModuleExport>,
    pub(crate) start: Vec<ModuleExport>,
    /// Those that are called by name.
    pub(crate) functions: Arc<Functions>,
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
        Ok(Exports { call, start: Self::starts(module, start)?, ..Self::memory_alone(module)? })
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
        Ok(Exports { memory: Some(memory), call: None, start: Vec::new(), functions: Arc::default() })
    }

    /// All functions that can be called with numbers and return such, that `fit`, but those of `start`; the memory, if it is
    /// exported.
    pub(crate) fn all(module: &wasmtime::Module, start: &[&str], fit: fn(&FuncType) -> bool) -> Self {
        let memory = module.get_export("memory").filter(|export| export.memory().is_some());
        let memory = memory.and_then(|_memory| module.get_export_index("memory"));
        Exports { memory, call: None, start: Vec::new(), functions: Functions::of(module, start, fit).into() }
    }

    /// The functions of `start` that there are.
    ///
    /// # Errors
    /// When one of them has another type than `() -> ()`.
    pub(crate) fn starts(module: &wasmtime::Module, start: &[&str]) -> Result<Vec<ModuleExport>, CompileError> {
        let start = start.iter().filter(|name| module.get_export(name).is_some());
        start.map(|name| function(module, name, &[], &[])).collect()
    }
}

/// Functions of a module that are called by name.
#[derive(Default)]
pub(crate) struct Functions(HashMap<Box<str>, Callable, RandomState>);

/// One of them.
pub(crate) struct Callable {
    pub(crate) index: ModuleExport,
    /// A reference to the engine's own: very many exports may be of one type, with a thousand parameters.
    pub(crate) ty: FuncType,
}

impl Functions {
    fn of(module: &wasmtime::Module, start: &[&str], fit: fn(&FuncType) -> bool) -> Self {
        let functions = module.exports().filter_map(|export| {
            let (name, ty) = (export.name(), export.ty());
            let ty =
                ty.func().filter(|ty| fit(ty) && ty.params().chain(ty.results()).all(|ty| is_number(&ty)))?.clone();
            if start.contains(&name) || name.starts_with(RESERVED) {
                return None;
            }
            let index = module.get_export_index(name)?;
            Some((name.into(), Callable { index, ty }))
        });
        Functions(functions.collect())
    }

    /// The function of this name, as its module has it.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&str, &Callable)> {
        let name = std::str::from_utf8(name).ok()?;
        self.0.get_key_value(name).map(|(name, callable)| (&**name, callable))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &Callable)> {
        self.0.iter().map(|(name, callable)| (&**name, callable))
    }

    /// All of them, in the order of their names.
    pub(crate) fn all(&self) -> Vec<(&str, &Callable)> {
        let mut all: Vec<_> = self.each().collect();
        all.sort_unstable_by_key(|(name, _callable)| *name);
        all
    }

    /// The first of the names, in order: a module may have a million.
    pub(crate) fn names(&self) -> Vec<String> {
        first(self.0.keys().map(|name| &**name).collect())
    }
}

/// The first of these names, in order.
pub(super) fn first(mut names: Vec<&str>) -> Vec<String> {
    if names.len() > NAMED {
        names.select_nth_unstable(NAMED);
        names.truncate(NAMED);
    }
    names.sort_unstable();
    names.into_iter().map(String::from).collect()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]
mod tests {
    use super::*;
    use crate::abi::contract::Spec;

    /// A section with so many entries, each of these bytes.
    fn section(id: u8, entries: usize, entry: &[u8]) -> Vec<u8> {
        let count = long(entries);
        [&[id][..], &long(count.len() + entries * entry.len()), &count, &entry.repeat(entries)].concat()
    }

    /// A number in five bytes.
    fn long(number: usize) -> Vec<u8> {
        (0..5).map(|place| ((number >> (7 * place)) & 0x7f) as u8 | if place < 4 { 0x80 } else { 0 }).collect()
    }

    #[test]
    fn of_a_module_that_is_yet_to_be_validated_no_more_names_are_read_than_one_may_have() {
        // Imports of functions without names; exports of a memory and of a function.
        let imports = section(2, 2_000_000, &[0, 0, 0, 0]);
        for (kind, functions) in [(2, 0), (0, MAX_EXPORTS)] {
            let exports = section(7, 2_000_000, &[1, b'e', kind, 0]);
            let wasm = [b"\0asm\x01\0\0\0", &*imports, &*exports].concat();
            let surface = Surface::read(&wasm);
            assert_eq!((surface.imports.len(), surface.exports.len()), (MAX_IMPORTS, MAX_EXPORTS));
            assert_eq!(surface.functions.len(), functions);
            let exports = vec!["e".to_owned(); NAMED];
            assert_eq!(Spec::detect(&[], &surface).map(|_found| ()), Err(CompileError::UnknownAbi { exports }));
        }
    }

    #[test]
    fn of_a_component_that_is_yet_to_be_validated_no_more_names_are_read_than_one_may_have() {
        let exports = section(11, 600_000, &[0, 1, b'e', 3, 0, 0]).repeat(3);
        let wasm = [b"\0asm\x0d\0\x01\0", &*exports].concat();
        assert_eq!(exported(&wasm).len(), MAX_EXPORTS);
    }

    #[test]
    fn names_of_a_component_are_its_own_before_and_behind_what_is_in_it() {
        let inner = r#"(component (core module $m (func (export "no"))) (core instance $i (instantiate $m))
                         (func $f (canon lift (core func $i "no"))) (export "nor-this" (func $f)))"#;
        let wasm = wat::parse_str(format!(
            r#"(component (type $t u32) (export "one" (type $t)) {inner} (export "two" (type $t))
                 (core module (func (export "no"))) (export "three" (type $t)))"#
        ));
        let wasm = wasm.unwrap();
        assert_eq!(exported(&wasm), ["one", "two", "three"]);
        for cut in 0..wasm.len() {
            assert!(["one", "two", "three"].starts_with(&exported(&wasm[..cut])), "{cut}");
        }
    }
}
