//! The ways in which a guest and its host talk: one module for each, and how to tell which a module speaks.

use wasmtime::{Extern, ExternType, Linker, Mutability, Store, ValType};

use crate::engine::Compiler;
use crate::error::CompileError;
use crate::runtime::Inner;
use crate::state::State;

pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod wapc;
pub(crate) mod wasi;

/// Import module of WASI preview 1.
pub(crate) const WASI_MODULE: &str = "wasi_snapshot_preview1";
/// Import module of WASI preview 0, which older compilers knew.
pub(crate) const PREVIEW_0: &str = "wasi_unstable";

/// The export of waPC that serves a call.
pub(crate) const GUEST_CALL: &str = "__guest_call";

/// An ABI that this host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// [waPC](https://wapc.io/docs/spec/): `__guest_call` serves any number of calls.
    Wapc,
    /// A WASI preview 1 command: a whole program is one call, stdin to stdout.
    WasiCommand,
}

impl Abi {
    /// The name that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Abi::Wapc => "wapc",
            Abi::WasiCommand => "wasi",
        }
    }

    /// The ABI that `module` speaks, by its exports and imports.
    pub(crate) fn of(module: &wasmtime::Module) -> Result<Abi, CompileError> {
        if module.get_export(GUEST_CALL).is_some() {
            return Ok(Abi::Wapc);
        }
        if module.imports().any(|import| import.module() == wapc::MODULE) {
            return Err(CompileError::MissingExport { name: GUEST_CALL.into(), kind: "a function named" });
        }
        if module.get_export("_start").is_some() {
            return Ok(Abi::WasiCommand);
        }
        let exports = module.exports().map(|export| export.name().to_owned());
        let exports = exports.filter(|name| name != crate::stack::EXPORT).collect();
        Err(CompileError::UnknownAbi { exports })
    }
}

/// Is this an import module of WASI?
pub(crate) fn is_wasi(module: &str) -> bool {
    [WASI_MODULE, PREVIEW_0].contains(&module)
}

/// Offers guests all that they may import.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wapc::link(linker)?;
    wasi::link(linker)
}

/// A host function that guests may import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The import module.
    pub module: String,
    /// The function's name in it.
    pub name: String,
    /// Types of the parameters, as in WAT: `i32`, `i64`.
    pub params: Vec<String>,
    /// Types of the results.
    pub results: Vec<String>,
}

/// All that guests may import.
pub(crate) fn imports(runtime: &Inner, compiler: &Compiler) -> Vec<Import> {
    let mut store = Store::new(&compiler.wasmtime, runtime.spare_state());
    let offered: Vec<_> = compiler
        .linker
        .iter(&mut store)
        .map(|(module, name, function)| (module.to_owned(), name.to_owned(), function))
        .collect();
    let types = |types: &mut dyn Iterator<Item = ValType>| types.map(|ty| ty.to_string()).collect();
    let import = |(module, name, function): (String, String, Extern)| match function.ty(&store) {
        ExternType::Func(ty) => {
            let (params, results) = (types(&mut ty.params()), types(&mut ty.results()));
            Some(Import { module, name, params, results })
        }
        _ => None,
    };
    offered.into_iter().filter_map(import).collect()
}

/// Is everything there that `module` imports, with the types that it asks for?
pub(crate) fn check_imports(
    runtime: &Inner,
    compiler: &Compiler,
    module: &wasmtime::Module,
) -> Result<(), CompileError> {
    let mut store = Store::new(&compiler.wasmtime, runtime.spare_state());
    for import in module.imports() {
        let (module, name) = (import.module().to_owned(), import.name().to_owned());
        let Some(offered) = compiler.linker.get_by_import(&mut store, &import) else {
            return Err(CompileError::MissingImport { module, name });
        };
        let offered = offered.ty(&store);
        let asked = import.ty();
        let suits = match (&offered, &asked) {
            (ExternType::Func(offered), ExternType::Func(asked)) => offered.matches(asked),
            _ => false,
        };
        if !suits {
            return Err(CompileError::ImportType {
                module,
                name,
                expected: describe(&offered),
                found: describe(&asked),
            });
        }
    }
    Ok(())
}

/// A type as people write it: `a function (i32, i32) -> i32`.
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
