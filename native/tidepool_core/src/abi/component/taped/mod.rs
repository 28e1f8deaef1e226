//! What the imports of components tell otherwise in another run, where calls are recorded or replayed: waits, random bytes, and the
//! streams of requests and responses here; clocks are those of WASI's preview 1, and answers of the host are taped where it is asked.

mod random;
mod requests;
mod streams;
mod waits;

pub(super) use random::MAX_RANDOM_BYTES;
use wasmtime::component::Linker;

use super::define::shadowing;
use crate::abi::slots::State;

/// Defines them in the place of those that `linker` has: without a tape they do the same.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    shadowing(linker, |linker| {
        waits::define(&mut linker.instance("wasi:io/poll@0.2.12")?)?;
        random::define(linker)
    })
}

/// The same of `wasi:http`.
pub(super) fn link_http(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    shadowing(linker, |linker| requests::define(&mut linker.instance("wasi:http/types@0.2.12")?))
}
