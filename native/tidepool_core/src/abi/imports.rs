//! What guests of an ABI may import, and the check that a module finds all of its imports.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wasmtime::{Engine, ExternType, Linker, Store};

use super::contract::{Ask, ModuleSpec, Open};
use super::exports::describe;
use super::lunatic::NETWORKING;
use super::slots::State;
use super::typed::asks::Asks;
use super::wasi::imports::is_wasi;
use crate::base::error::CompileError;
use crate::store::context::FunctionContext;
use crate::store::frames::Waiting;

/// A host function that guests may import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Name of the ABI whose guests may import it.
    pub abi: &'static str,
    /// The import module.
    pub module: String,
    /// The function's name in it.
    pub name: String,
    /// Types of the parameters, as in WAT: `i32`, `i64`.
    pub params: Vec<String>,
    /// Types of the results.
    pub results: Vec<String>,
    /// Whether a process may leave its stack while it is in there, to go on in another instance.
    pub waits: bool,
}

/// What the names of WASI's interfaces begin with.
const INTERFACES: &str = "wasi:";

/// May functions of this import module wait for I/O?
pub(crate) fn waits(module: &str) -> bool {
    is_wasi(module) || module == NETWORKING || module.starts_with(INTERFACES)
}

/// What one engine offers guests of one ABI.
pub(crate) struct Offer {
    pub(crate) abi: &'static str,
    pub(crate) linker: Linker<State>,
    waits: &'static [Waiting],
    /// By module and name.
    types: HashMap<(String, String), ExternType>,
}

impl Offer {
    pub(crate) fn new(engine: &Engine, name: &'static str, abi: &ModuleSpec) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        (abi.link)(&mut linker)?;
        // A linker tells its types only with a store.
        let mut store = Store::new(engine, State::new(Arc::new(FunctionContext::detached())));
        let offered: Vec<_> = linker
            .iter(&mut store)
            .map(|(module, name, offered)| ((module.to_owned(), name.to_owned()), offered))
            .collect();
        let types = offered.into_iter().map(|(name, offered)| (name, offered.ty(&store))).collect();
        Ok(Offer { abi: name, linker, waits: abi.waits, types })
    }

    /// The functions, in no order.
    pub(crate) fn imports(&self) -> impl Iterator<Item = Import> {
        self.types.iter().filter_map(|((module, name), ty)| {
            let function = ty.func()?;
            let (params, results) = (function.params(), function.results());
            Some(Import {
                abi: self.abi,
                module: module.clone(),
                name: name.clone(),
                params: params.map(|ty| ty.to_string()).collect(),
                results: results.map(|ty| ty.to_string()).collect(),
                waits: self.waits.iter().any(|it| it.is(module, name)),
            })
        })
    }

    /// What `module` imports that is not offered, and so is asked of the host's handlers.
    pub(crate) fn asked(&self, module: &wasmtime::Module, open: Option<Open>) -> Vec<Ask> {
        let Some(Open { binding, .. }) = open else { return Vec::new() };
        let mut asks = Asks::default();
        for import in module.imports() {
            if !self.types.contains_key(&(import.module().to_owned(), import.name().to_owned())) {
                asks.push([binding, import.module(), import.name()]);
            }
        }
        asks.told()
    }

    /// What `module` is linked with: every import of it is offered with its type, or defined by `open`.
    ///
    /// # Errors
    /// A [`CompileError`] that names the first import that is not.
    pub(crate) fn linker(
        &self,
        module: &wasmtime::Module,
        open: Option<Open>,
    ) -> Result<Cow<'_, Linker<State>>, CompileError> {
        let mut linker = Cow::Borrowed(&self.linker);
        let mut defined = HashSet::new();
        for import in module.imports() {
            let name = (import.module().to_owned(), import.name().to_owned());
            let asked = import.ty();
            let Some(offered) = self.types.get(&name) else {
                let internal = |error: wasmtime::Error| CompileError::Internal { message: format!("{error:#}") };
                let is_defined = match (open, &asked) {
                    // A module may import the same twice.
                    _ if defined.contains(&name) => true,
                    (Some(open), ExternType::Func(ty)) => {
                        (open.define)(linker.to_mut(), &name.0, &name.1, ty).map_err(internal)?
                    }
                    _ => false,
                };
                if !is_defined {
                    return Err(CompileError::MissingImport { module: name.0, name: name.1 });
                }
                defined.insert(name);
                continue;
            };
            let suits = match (offered, &asked) {
                (ExternType::Func(offered), ExternType::Func(asked)) => offered.matches(asked),
                _ => false,
            };
            if !suits {
                let (expected, found) = (describe(offered), describe(&asked));
                return Err(CompileError::ImportType { module: name.0, name: name.1, expected, found });
            }
        }
        Ok(linker)
    }
}
