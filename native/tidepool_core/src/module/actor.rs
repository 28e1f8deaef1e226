//! What a module has beside its code whose instances have images: actors, and processes that move.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::ModuleExport;
use wasmtime::component::Component;

use super::check::{cannot_move, valid_elsewhere};
use super::needs::Needs;
use crate::abi::access::Access;
use crate::base::error::CompileError;
use crate::base::moves::Moves;
use crate::image::declared::Declared;
use crate::image::head::ModuleHash;
use crate::rewrite::accessor;
use crate::rewrite::actor::{self, Refused};
use crate::rewrite::exports::Exposed;
use crate::rewrite::preempt::Checked;

/// A module whose instances have images.
pub(crate) struct Actor {
    pub(crate) shape: Arc<Shape>,
    pub(crate) seen: Seen,
}

/// What the host sees an instance's memory and globals by.
pub(crate) enum Seen {
    /// The exports of a module.
    Module {
        /// Its mutable globals.
        globals: Vec<ModuleExport>,
        /// The function that was in its start section.
        start: Option<ModuleExport>,
    },
    /// What was added to a component for that.
    Component(Access),
}

/// What follows from its bytes alone, whatever compiles them.
pub(crate) struct Shape {
    /// As the catalog names it.
    pub(crate) module: ModuleHash,
    pub(crate) declared: Declared,
    pub(super) outline: Outline,
    /// Whether its instances are processes that move, and no actors.
    pub(super) moves: bool,
    /// Bytes of the engine's records of what is added to each of its instances.
    pub(super) record_bytes: u64,
}

pub(super) enum Outline {
    Module(actor::Outline),
    Component(accessor::Outline),
}

impl Shape {
    /// Reads a module.
    ///
    /// # Errors
    /// [`CompileError::NoActor`] when an image of its instances would lack something, or [`CompileError::Config`] when that is of
    /// processes; [`CompileError::Invalid`] when it is no module.
    pub(super) fn of(wasm: &[u8], moves: bool) -> Result<Self, CompileError> {
        valid_elsewhere(wasm)?;
        let mut outline = actor::Outline::of(wasm).map_err(|why| refused(why, moves))?;
        let declared = declared(&std::mem::take(&mut outline.data), moves)?;
        Ok(Shape {
            module: Sha256::digest(wasm).into(),
            declared,
            outline: Outline::Module(outline),
            moves,
            record_bytes: 0,
        })
    }

    /// Reads a component.
    ///
    /// # Errors
    /// [`CompileError::NoActor`] when an image of its instances would lack something, or [`CompileError::Invalid`] when it is none.
    pub(super) fn of_component(wasm: &[u8]) -> Result<Self, CompileError> {
        valid_elsewhere(wasm)?;
        let mut outline = accessor::outline(wasm).map_err(|why| refused(why, false))?;
        let declared = declared(&std::mem::take(&mut outline.data), false)?;
        let record_bytes = Needs::record_bytes_of(accessor::added(&outline));
        let outline = Outline::Component(outline);
        Ok(Shape { module: Sha256::digest(wasm).into(), declared, outline, moves: false, record_bytes })
    }

    /// The module with all exports that its images are made by.
    ///
    /// # Errors
    /// As of [`Shape::of`].
    pub(super) fn expose<'a>(&self, wasm: &'a [u8]) -> Result<Exposed<'a>, CompileError> {
        match &self.outline {
            Outline::Module(outline) => outline.expose(wasm).map_err(|why| refused(why, self.moves)),
            Outline::Component(_) => Ok(Exposed::none(wasm)),
        }
    }

    /// The component with what its images are made by, and where its code stood before.
    ///
    /// # Errors
    /// As of [`Shape::of_component`].
    pub(super) fn expose_component<'a>(
        &self,
        wasm: Cow<'a, [u8]>,
        moves: Moves,
    ) -> Result<(Cow<'a, [u8]>, Moves), CompileError> {
        let Outline::Component(outline) = &self.outline else { return Ok((wasm, moves)) };
        let Checked { wasm, moves: later } = accessor::expose(outline, &wasm).map_err(|why| refused(why, false))?;
        Ok((Cow::Owned(wasm), moves.followed(&later)))
    }
}

impl Actor {
    /// That of a compiled module of this shape, which exports what is to be seen.
    pub(super) fn of(shape: &Arc<Shape>, module: &wasmtime::Module) -> Result<Self, CompileError> {
        let Outline::Module(outline) = &shape.outline else { return Err(lacking()) };
        let globals = (0..outline.globals()).map(|number| {
            let export = module.get_export_index(&actor::global(number));
            export.ok_or_else(lacking)
        });
        let globals = globals.collect::<Result<_, _>>()?;
        let seen = Seen::Module { globals, start: module.get_export_index(actor::START) };
        Ok(Actor { shape: Arc::clone(shape), seen })
    }

    /// That of a compiled component of this shape.
    pub(super) fn of_component(shape: &Arc<Shape>, component: &Component) -> Result<Self, CompileError> {
        let Outline::Component(outline) = &shape.outline else { return Err(lacking()) };
        let access = Access::of(component, outline.numbers()).ok_or_else(lacking)?;
        Ok(Actor { shape: Arc::clone(shape), seen: Seen::Component(access) })
    }
}

fn declared(data: &[(u64, Vec<u8>)], moves: bool) -> Result<Declared, CompileError> {
    Declared::new(data).ok_or_else(|| unheld("its data lie too far apart in its memory", moves))
}

fn lacking() -> CompileError {
    CompileError::Internal { message: "the module lacks an export that was added to it".into() }
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
