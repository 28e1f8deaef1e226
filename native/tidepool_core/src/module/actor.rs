//! What a module has beside its code whose instances have images: actors, and processes that move.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::ModuleExport;

use super::check::cannot_move;
use crate::base::error::CompileError;
use crate::image::declared::Declared;
use crate::image::head::ModuleHash;
use crate::rewrite::actor::{self, Outline, Refused};
use crate::rewrite::exports::Exposed;

/// A module whose instances have images.
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
    /// Whether its instances are processes that move, and no actors.
    pub(super) moves: bool,
}

impl Shape {
    /// Reads a module.
    ///
    /// # Errors
    /// [`CompileError::NoActor`] when an image of its instances would lack something, or [`CompileError::Config`] when that is of
    /// processes.
    pub(super) fn of(wasm: &[u8], moves: bool) -> Result<Self, CompileError> {
        let mut outline = Outline::of(wasm).map_err(|why| refused(why, moves))?;
        let Some(declared) = Declared::new(&std::mem::take(&mut outline.data)) else {
            return Err(unheld("its data lie too far apart in its memory", moves));
        };
        Ok(Shape { module: Sha256::digest(wasm).into(), declared, outline, moves })
    }

    /// The module with all exports that its images are made by.
    ///
    /// # Errors
    /// As of [`Shape::of`].
    pub(super) fn expose<'a>(&self, wasm: &'a [u8]) -> Result<Exposed<'a>, CompileError> {
        self.outline.expose(wasm).map_err(|why| refused(why, self.moves))
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

fn refused(refused: Refused, moves: bool) -> CompileError {
    match refused {
        Refused::Unreadable(error) => CompileError::Invalid { message: error.to_string() },
        Refused::Unheld(message) => unheld(&message, moves),
    }
}

fn unheld(what: &str, moves: bool) -> CompileError {
    if moves {
        cannot_move(what)
    } else {
        CompileError::NoActor { message: format!("{what}, or deploy it without `actor`") }
    }
}
