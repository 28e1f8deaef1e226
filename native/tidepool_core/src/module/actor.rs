//! What a module of actors has beside its code.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::ModuleExport;

use crate::base::error::CompileError;
use crate::image::declared::Declared;
use crate::image::head::ModuleHash;
use crate::rewrite::actor::{self, Outline, Refused};

/// A module whose instances are actors.
pub(crate) struct Actor {
    pub(crate) shape: Arc<Shape>,
    /// Its mutable globals.
    pub(crate) globals: Vec<ModuleExport>,
    /// The function that was in its start section.
    pub(super) start: Option<ModuleExport>,
}

/// What follows from its bytes alone, whatever compiles them.
pub(crate) struct Shape {
    /// As the catalog names it.
    pub(crate) module: ModuleHash,
    pub(crate) declared: Declared,
    pub(super) outline: Outline,
}

impl Shape {
    /// Reads a module.
    ///
    /// # Errors
    /// [`CompileError::NoActor`] when an image of its instances would lack something.
    pub(super) fn of(wasm: &[u8]) -> Result<Self, CompileError> {
        let mut outline = Outline::of(wasm).map_err(refused)?;
        let Some(declared) = Declared::new(&std::mem::take(&mut outline.data)) else {
            let message = "its data lie too far apart in its memory".into();
            return Err(CompileError::NoActor { message });
        };
        Ok(Shape { module: Sha256::digest(wasm).into(), declared, outline })
    }
}

impl Actor {
    /// That of a compiled module of this shape, which exports what is to be seen.
    pub(super) fn of(shape: &Arc<Shape>, module: &wasmtime::Module) -> Result<Self, CompileError> {
        let globals = (0..shape.outline.globals()).map(|number| {
            let lacking =
                || CompileError::Internal { message: "the module lacks an export that was added to it".into() };
            module.get_export_index(&actor::global(number)).ok_or_else(lacking)
        });
        let globals = globals.collect::<Result<_, _>>()?;
        Ok(Actor { shape: Arc::clone(shape), globals, start: module.get_export_index(actor::START) })
    }
}

pub(super) fn refused(refused: Refused) -> CompileError {
    match refused {
        Refused::Unreadable(error) => CompileError::Invalid { message: error.to_string() },
        Refused::Unheld(message) => CompileError::NoActor { message },
    }
}
