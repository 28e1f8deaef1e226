//! What a module of processes that move has beside its code.

use std::borrow::Cow;

use wasmtime::ModuleExport;

use super::actor::Actor;
use super::check::{cannot_move, refused};
use crate::abi::contract::Spec;
use crate::abi::exports::Surface;
use crate::base::bodies::Bodies;
use crate::base::config::CompileConfig;
use crate::base::error::CompileError;
use crate::engine::engines::Engine;
use crate::rewrite::unwind::{Refused, TABLE, UNWINDING, unwound};

/// A module whose processes can leave their stack, and go on in another instance.
pub(crate) struct Movable {
    /// What an image of its instances holds.
    pub(crate) imaged: Actor,
    /// The global that says whether a guest unwinds, and the table of second bodies; `None` where it imports nothing that a guest could
    /// leave its stack in.
    pub(crate) exits: Option<(ModuleExport, ModuleExport)>,
}

impl Movable {
    /// That of a compiled module.
    pub(super) fn of(imaged: Actor, module: &wasmtime::Module) -> Self {
        Movable { imaged, exits: module.get_export_index(UNWINDING).zip(module.get_export_index(TABLE)) }
    }
}

/// The module in which functions have second bodies, where its processes are to move.
///
/// # Errors
/// [`CompileError::Config`] that says why its processes can't.
pub(super) fn with_second_bodies<'a>(
    engine: &Engine,
    abis: &[Spec],
    wasm: &'a [u8],
    config: &CompileConfig,
) -> Result<(Cow<'a, [u8]>, Bodies), CompileError> {
    let as_it_is = (Cow::Borrowed(wasm), Bodies::default());
    if !config.movable {
        return Ok(as_it_is);
    }
    // One of no ABI is told so when it has been compiled.
    let Ok((spec, abi)) = Spec::detect(abis, &Surface::read(wasm)) else { return Ok(as_it_is) };
    if !spec.runs || abi.inline.is_some() || config.actor {
        return Err(cannot_move(&format!("a module of the ABI {} has none, or is to have actors", spec.name)));
    }
    let waits = |module: &str, name: &str| abi.waits.iter().any(|it| it.is(module, name));
    match unwound(wasm, &waits) {
        Ok(Some(unwound)) => Ok((Cow::Owned(unwound.wasm), unwound.bodies)),
        Ok(None) => Ok(as_it_is),
        Err(Refused::Unreadable(error)) => match refused(engine, wasm, &error.into()) {
            invalid @ CompileError::Invalid { .. } => Err(invalid),
            // The engine takes more than can be rewritten.
            other => Err(cannot_move(&other.to_string())),
        },
        Err(why) => Err(cannot_move(&why.to_string())),
    }
}
