//! The ways in which a guest and its host talk: one module for each, and how to tell which a module speaks.

use wasmtime::{ExternType, Linker, Mutability, Store};

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
        let exports = module.exports().map(|export| export.name().to_owned()).collect();
        Err(CompileError::UnknownAbi { exports })
    }
}

/// Offers guests all that they may import.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wapc::link(linker)?;
    wasi::link(linker)
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
