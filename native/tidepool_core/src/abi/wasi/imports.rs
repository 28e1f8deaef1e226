//! Imports of WASI, previews 0 and 1.

use wasmtime::Linker;
use wasmtime_wasi::p1;

use super::context::context;
use super::{bounded, files, poll, preview0};
use crate::abi::slots::State;

/// Import module of WASI preview 1.
pub(crate) const WASI_MODULE: &str = bounded::WASI_MODULE;
/// Import module of WASI preview 0, which older compilers knew.
pub(crate) const PREVIEW_0: &str = preview0::PREVIEW_0;

/// Is this an import module of WASI?
pub(crate) fn is_wasi(module: &str) -> bool {
    [WASI_MODULE, PREVIEW_0].contains(&module)
}

/// Defines both previews.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, context)?;
    bounded::link(linker)?;
    poll::link(linker)?;
    files::link(linker)?;
    preview0::link(linker)
}
