//! Data of WASI in a guest's store.

use std::sync::Arc;

use wasmtime::TypedFunc;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::output::Output;
use crate::process::config::World;
use crate::process::stdio::Stdio;

/// The slot of WASI.
#[derive(Default)]
pub(crate) struct WasiSlot {
    /// The context of imports, once the guest has called one. Boxed, for it is large and guests without it move the state, too.
    pub(super) context: Option<Box<WasiP1Ctx>>,
    /// What the context is to be made with, where that is not empty.
    pub(super) world: Option<Arc<World>>,
    /// Its own standard input and output; else there is no input, and what is written is printed.
    pub(super) stdio: Option<Arc<Stdio>>,
    /// Only programs have them.
    pub(super) streams: Option<Streams>,
    /// `_start` of a program.
    pub(super) entry: Option<TypedFunc<(), ()>>,
}

impl WasiSlot {
    /// Says what the guest finds, before it calls an import.
    pub(crate) fn set_world(&mut self, world: &Arc<World>, stdio: Option<Arc<Stdio>>) {
        (self.world, self.stdio) = (Some(Arc::clone(world)), stdio);
    }
}

/// The output streams of a program, as its caller sees them.
pub(super) struct Streams {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}
